/* Questions to the server: JSON in, JSON out; what it refuses is an Error with its sentence. */
let page = "";

export const secret = (given) => { page = given; };

export const address = (path, words) => {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(words || {})) if (value !== undefined && value !== null && value !== "") query.set(name, value);
  const text = query.toString();
  return `api/${path}${text ? "?" + text : ""}`;
};

const answered = async (response) => {
  if (response.status === 401) { location.assign(`login?next=${encodeURIComponent(location.pathname.split("/").pop() + location.search)}`); }
  let body;
  try { body = await response.json(); } catch { body = {}; }
  if (!response.ok) throw new Error(body.problem || `the dashboard answered ${response.status}`);
  return body;
};

export const ask = async (path, words, signal) => answered(await fetch(address(path, words), { headers: { Accept: "application/json" }, signal }));

export const send = async (path, body) => answered(await fetch(`api/${path}`, {
  method: "POST",
  headers: { Accept: "application/json", "Content-Type": "application/json", "X-Edgewatch-Page": page },
  body: JSON.stringify(body),
}));
