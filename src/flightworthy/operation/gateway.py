"""Envoy in front of replicas of a service: what an entity asks always goes to the same one, as long as that is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from flightworthy.ground.errors import DataError
from flightworthy.manifest.pilot import Pilot

_KEY = "x-entity"
# The key stands in the body: of an array, that of its first record. A caller may set the header itself.
_LUA = """function envoy_on_request(handle)
  if handle:headers():get("{key}") then return end
  local body = handle:body()
  if body == nil then return end
  local text = body:getBytes(0, math.min(body:length(), 65536))
  local value = string.match(text, '"{field}"%s*:%s*"([^"]*)"') or string.match(text, '"{field}"%s*:%s*([%w.+-]+)')
  if value then handle:headers():add("{key}", value) end
end
"""


def envoy(pilot: Pilot, replicas: Sequence[str], listen: int) -> str:
    """The bootstrap configuration of an Envoy (1.30 or newer) that listens on this machine's port and shares requests out by the
    entity of ``rollout.by``, on a consistent ring of healthy replicas (``host:port``). Raises `DataError`."""
    ends = [_end(replica) for replica in replicas]
    if not ends:
        raise DataError("no replica to send anything to", expected="--replica host:port, once for each")
    cluster = {
        "name": "replicas", "type": "STRICT_DNS", "lb_policy": "RING_HASH", "connect_timeout": "1s",
        "ring_hash_lb_config": {"minimum_ring_size": 1024},
        "health_checks": [{"timeout": "1s", "interval": "2s", "unhealthy_threshold": 2, "healthy_threshold": 1,
                           "http_health_check": {"path": "/health/ready"}}],
        "load_assignment": {"cluster_name": "replicas", "endpoints": [{"lb_endpoints": ends}]}}
    listener = {"name": "pilot", "address": _address("127.0.0.1", listen), "filter_chains": [{"filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(pilot)}]}]}
    return yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, sort_keys=False)


def _manager(pilot: Pilot) -> dict[str, Any]:
    deadline = pilot.manifest.service.deadline / 1e6
    # An id is decided once, so a request that a replica did not answer may go to it, or to the next one, again.
    route = {"match": {"prefix": "/"}, "route": {
        "cluster": "replicas", "timeout": f"{3 * deadline + 1:g}s", "hash_policy": [{"header": {"header_name": _KEY}}],
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2}}}
    lua = _LUA.format(key=_KEY, field=pilot.assigned_by)
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "pilot",
        "route_config": {"virtual_hosts": [{"name": "pilot", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.lua", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                "default_source_code": {"inline_string": lua}}},
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}


def _end(replica: str) -> dict[str, Any]:
    host, _, port = replica.rpartition(":")
    if not host or not port.isdigit():
        raise DataError("this is no replica", found=replica, expected="host:port")
    return {"endpoint": {"address": _address(host, int(port))}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
