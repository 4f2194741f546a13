// One spelling for a host name, so that what a client writes and what a Route says meet: lower-case, no port, no trailing dot, IPv6
// without brackets.

/** The canonical host of a Host header or a Route; null where it is not a host at all. */
export function canonicalHost(value: string): string | null {
  if (value.length === 0 || value.length > 300) return null;
  if (value.startsWith('[')) {
    const match = /^\[([0-9A-Fa-f:.]{2,45})\](?::\d{0,5})?$/u.exec(value);
    return match?.[1]?.toLowerCase() ?? null;
  }
  const colon = value.indexOf(':');
  let host = value;
  if (colon !== -1) {
    // More than one colon without brackets: an IPv6 address as a Route may spell it.
    if (value.includes(':', colon + 1)) return /^[0-9A-Fa-f:.]{2,45}$/u.test(value) ? value.toLowerCase() : null;
    if (!/^\d{0,5}$/u.test(value.slice(colon + 1))) return null;
    host = value.slice(0, colon);
  }
  if (host.endsWith('.')) host = host.slice(0, -1);
  return /^[A-Za-z0-9_*](?:[A-Za-z0-9_.*-]*[A-Za-z0-9_])?$/u.test(host) && !host.includes('..') ? host.toLowerCase() : null;
}
