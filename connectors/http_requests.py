"""Logpush `http_requests`: the published fields with their JSON types, and which lines are user requests.

Source: Cloudflare's documentation of the dataset. A job sends only the fields it names, so every one may be absent, and
fields that are not listed here are ignored.
"""

from typing import Literal

_Kind = Literal["number", "string", "flag"]

EVENT_TIME = ("EdgeEndTimestamp", "EdgeStartTimestamp")  # a line is written after the end, so the end is least late
IDENTITY = "RayID"
FOLDED = frozenset({"CacheCacheStatus", "ClientCountry"})  # both cases occur in real records
PATHS = frozenset({"ClientRequestPath", "ClientRequestURI", "path"})

# The field list calls it ClientRequestSource, the page on false 504s RequestSource: both are read.
ALTERNATIVES = {"ClientRequestSource": ("ClientRequestSource", "RequestSource")}

# What the bad records of an alert are told apart by, in order; by the first key that a record has.
DIMENSIONS = {
    "path": ("ClientRequestPath", "ClientRequestURI"),
    "colo": ("EdgeColoCode",),
    "country": ("ClientCountry",),
    "status": ("EdgeResponseStatus",),
    "host": ("ClientRequestHost",),
}

# Logpush ships more lines than users make requests: Worker subrequests, cache look-ups logged as 504, health checks.
# An absent value takes part in no comparison, so `not (X != "")` is true where X is absent or empty.
PREDICATES = {
    "is_user_request": (
        'ClientRequestSource == "eyeball" or (not (ClientRequestSource != "")'
        ' and not (WorkerSubrequest == true) and not (ParentRayID not in ("", "00")))'
    ),
    "asked_cache": (
        'CacheCacheStatus in ("hit", "stream_hit", "streamhit", "stale", "updating", "revalidated",'
        ' "miss", "expired", "ignored")'
    ),
    "served_from_cache": 'CacheCacheStatus in ("hit", "stream_hit", "streamhit", "stale", "updating", "revalidated")',
}

_NUMBERS = """
    BotScore CacheResponseBytes CacheResponseStatus ClientASN ClientRequestBytes ClientSrcPort ClientTCPRTTMs EdgeColoID
    EdgeResponseBodyBytes EdgeResponseBytes EdgeResponseCompressionRatio EdgeResponseStatus EdgeTimeToFirstByteMs
    OriginDNSResponseTimeMs OriginRequestHeaderSendDurationMs OriginResponseBytes OriginResponseDurationMs
    OriginResponseHeaderReceiveDurationMs OriginResponseStatus OriginResponseTime OriginTCPHandshakeDurationMs
    OriginTLSHandshakeDurationMs SmartRouteColoID UpperTierColoID WAFAttackScore WAFRCEAttackScore WAFSQLiAttackScore
    WAFXSSAttackScore WorkerCPUTime WorkerSubrequestCount WorkerWallTimeUs ZoneID
"""
_STRINGS = """
    BotScoreSrc CacheCacheStatus ClientCity ClientCountry ClientDeviceType ClientIP ClientIPClass ClientLatitude
    ClientLongitude ClientMTLSAuthCertFingerprint ClientMTLSAuthStatus ClientRegionCode ClientRequestHost
    ClientRequestMethod ClientRequestPath ClientRequestProtocol ClientRequestReferer ClientRequestScheme
    ClientRequestSource ClientRequestURI ClientRequestUserAgent ClientSSLCipher ClientSSLProtocol ClientXRequestedWith
    ContentScanObjResults EdgeColoCode EdgePathingOp EdgePathingSrc EdgePathingStatus EdgeRateLimitAction EdgeRequestHost
    EdgeResponseContentType EdgeServerIP JA3Hash JA4 LeakedCredentialCheckResult OriginIP OriginResponseHTTPExpires
    OriginResponseHTTPLastModified OriginSSLProtocol ParentRayID PayPerCrawlStatus RayID SecurityAction SecurityLevel
    SecurityRuleDescription SecurityRuleID WAFAction WAFFlags WAFMatchedVar WAFProfile WAFRuleID WAFRuleMessage
    WorkerScriptName WorkerStatus ZoneName
"""
_FLAGS = "CacheReserveUsed CacheTieredFill EdgeCFConnectingO2O WorkerSubrequest"

FIELDS: dict[str, _Kind] = {
    **dict.fromkeys(_NUMBERS.split(), "number"),
    **dict.fromkeys(_STRINGS.split(), "string"),
    **dict.fromkeys(_FLAGS.split(), "flag"),
}
