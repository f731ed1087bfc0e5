/* Where the reader is: the view is the last part of the path, the rest of the state its query, so that a link restores it. */
const SPANS = [["1h", "1 hour"], ["6h", "6 hours"], ["24h", "24 hours"], ["3d", "3 days"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"], ["365d", "a year"]];
export const spans = SPANS;
export const DEFAULT = "24h";
const listeners = [];

export const onMove = (listener) => listeners.push(listener);
export const view = () => location.pathname.split("/").pop() || "overview";
export const words = () => Object.fromEntries(new URLSearchParams(location.search));

/* What of the place says which range is looked at. */
export const range = () => {
  const { span, from, to } = words();
  return from || to ? { from, to } : { span: span || DEFAULT };
};
export const relative = () => !("from" in range());

export const link = (name, given, keep = true) => {
  const query = new URLSearchParams(keep ? Object.entries(range()).filter(([key, value]) => value && !(key === "span" && value === DEFAULT)) : []);
  for (const [key, value] of Object.entries(given || {})) if (value === null || value === "") query.delete(key); else query.set(key, value);
  const text = query.toString();
  return name + (text ? "?" + text : "");
};

export const go = (address, { quiet = false, replace = false } = {}) => {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  if (!quiet) listeners.forEach((listener) => listener());
};

/* Change some words of the place and stay in the view. */
export const change = (given, options) => {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(given)) if (value === null || value === "" || value === undefined) query.delete(key); else query.set(key, value);
  const text = query.toString();
  go(view() + (text ? "?" + text : ""), options);
};

export const follow = () => {
  addEventListener("popstate", () => listeners.forEach((listener) => listener()));
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest("a[data-view]");
    if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(anchor.getAttribute("href"));
  });
};

export const zoom = () => {
  const [min, max] = (words().zoom || "").split("-").map(Number);
  return min && max > min ? [min, max] : null;
};
