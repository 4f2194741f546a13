// One spelling for a host name, so that what a client writes and what a Route says meet: lower-case, no trailing dot, IPv6 without
// brackets and in the form of RFC 5952. Names are ASCII: what is international comes as A-labels (RFC 5890).

/** Of a Route for whatever host. */
export const ANY_HOST = '*';

const MAX_NAME = 253;
const MAX_LABEL = 63;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/u;

export interface HostAndPort {
  readonly host: string;
  /** Null where none was written. */
  readonly port: number | null;
}

/** A Host field or an authority (RFC 3986 §3.2, without userinfo); null where it is not valid. */
export function parseAuthority(value: string): HostAndPort | null {
  if (value.startsWith('[')) {
    const close = value.indexOf(']');
    const host = close === -1 ? null : canonicalIpv6(value.slice(1, close));
    const rest = value.slice(close + 1);
    if (host === null || (rest !== '' && !rest.startsWith(':'))) return null;
    return withPort(host, rest.slice(1));
  }
  const colon = value.indexOf(':');
  const host = canonicalName(colon === -1 ? value : value.slice(0, colon));
  return host === null ? null : withPort(host, colon === -1 ? '' : value.slice(colon + 1));
}

/** The canonical host of a Route, a Host field or an authority, port or not; null where it is no host. A Route may spell an IPv6 address bare. */
export function canonicalHost(value: string): string | null {
  const bare = value.indexOf(':') !== value.lastIndexOf(':') && !value.startsWith('[');
  return bare ? canonicalIpv6(value) : (parseAuthority(value)?.host ?? null);
}

/** The host of a Route: a name, or what stands behind the `*.` of a wildcard; of `*`, which is every host there is, nothing. */
export interface RouteHost {
  /** Canonical. */
  readonly name: string;
  readonly isWildcard: boolean;
}

/** Null where it is none. */
export function parseRouteHost(value: string): RouteHost | null {
  if (value === ANY_HOST) return { name: '', isWildcard: true };
  const isWildcard = value.startsWith('*.');
  const name = canonicalHost(isWildcard ? value.slice(2) : value);
  return name === null ? null : { name, isWildcard };
}

/** One spelling of it. */
export function routeHostText({ name, isWildcard }: RouteHost): string {
  if (!isWildcard) return name;
  return name === '' ? ANY_HOST : `*.${name}`;
}

/** The hosts of Routes that cover a canonical host beside its own, the most specific first. */
export function* coveringHosts(host: string): Generator<string> {
  for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) yield `*${host.slice(dot)}`;
  yield ANY_HOST;
}

/** As it stands in a Host field. */
export function authorityText(host: string, port: number | null): string {
  const text = host.includes(':') ? `[${host}]` : host;
  return port === null ? text : `${text}:${port}`;
}

function withPort(host: string, port: string): HostAndPort | null {
  if (port === '') return { host, port: null };
  if (!/^\d{1,5}$/u.test(port) || Number(port) > 65_535) return null;
  return { host, port: Number(port) };
}

function canonicalName(value: string): string | null {
  const name = (value.endsWith('.') ? value.slice(0, -1) : value).toLowerCase();
  if (name.length === 0 || name.length > MAX_NAME) return null;
  // Nearly every name has short labels, all of them plain: one look is enough.
  if (name.length <= MAX_LABEL && LABEL.test(name)) return name;
  return name.split('.').every((label) => label.length <= MAX_LABEL && LABEL.test(label)) ? name : null;
}

function canonicalIpv6(value: string): string | null {
  if (value.length > 45 || !/^[0-9A-Fa-f:.]+$/u.test(value)) return null;
  const halves = value.split('::');
  if (halves.length > 2) return null;
  const sides = halves.map((half) => (half === '' ? [] : groupsOf(half)));
  const [left, right] = sides;
  if (left === undefined || left === null || right === null) return null;
  const given = left.length + (right?.length ?? 0);
  if (right === undefined ? given !== 8 : given > 7) return null;
  const groups = right === undefined ? left : [...left, ...Array.from({ length: 8 - given }, () => 0), ...right];
  return compressed(groups);
}

/** 16-bit groups of colon-separated text, an IPv4 tail included; null where one is not valid. */
function groupsOf(text: string): number[] | null {
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/u.exec(part);
    if (four !== null && index === parts.length - 1) {
      const [a = 0, b = 0, c = 0, d = 0] = four.slice(1).map(Number);
      if (Math.max(a, b, c, d) > 255) return null;
      groups.push(a * 256 + b, c * 256 + d);
    } else if (/^[0-9A-Fa-f]{1,4}$/u.test(part)) groups.push(Number.parseInt(part, 16));
    else return null;
  }
  return groups;
}

/** RFC 5952 §4: the longest run of zeros, the first of equals, becomes `::`. */
function compressed(groups: readonly number[]): string {
  let best = { from: 0, length: 1 };
  for (let from = 0; from < groups.length; from += 1) {
    let length = 0;
    while (groups[from + length] === 0) length += 1;
    if (length > best.length) best = { from, length };
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (best.length === 1) return text(groups);
  return `${text(groups.slice(0, best.from))}::${text(groups.slice(best.from + best.length))}`;
}
