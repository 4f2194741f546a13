// Whose request it is. Behind proxies the socket only tells the last of them; what they say about the one before is believed as far as
// the operator trusts them and not a step further, and two claims that contradict each other are both worth nothing. Pure.

import net from 'node:net';
import { Failure } from '../lib/failure.ts';

/** Addresses whose word counts. */
export interface Trusted {
  has(address: string): boolean;
  /** Nobody is. */
  readonly isEmpty: boolean;
}

/** What a request says about its way; undefined where it says nothing. Lists are joined by commas. */
export interface Claims {
  readonly forwardedFor?: string | undefined;
  readonly forwardedProto?: string | undefined;
  readonly forwardedHost?: string | undefined;
  /** RFC 7239. */
  readonly forwarded?: string | undefined;
}

export interface Client {
  readonly address: string;
  readonly scheme: 'http' | 'https';
  /** The host that the client asked for, by the word of a trusted hop; null: the one of the request. */
  readonly host: string | null;
  /** The client and every hop behind it that is believed, in order, as X-Forwarded-For says it. */
  readonly chain: string;
}

const MAX_HOPS = 32;
const HOST = /^[0-9a-z.\-_]{1,253}(?::\d{1,5})?$|^\[[0-9a-f:.]{2,45}\](?::\d{1,5})?$/iu;
/** Answers of `has` that are kept. */
const KEPT = 1_024;

/** @param ranges addresses and CIDR ranges. Throws `invalid_input` naming one that is neither. */
export function createTrusted(ranges: readonly string[]): Trusted {
  const list = new net.BlockList();
  for (const range of ranges) {
    const [address = '', length, ...more] = range.split('/');
    const version = net.isIP(address);
    const most = version === 6 ? 128 : 32;
    const bits = length === undefined ? most : /^(?:0|[1-9]\d{0,2})$/u.test(length) ? Number(length) : -1;
    if (version === 0 || more.length > 0 || bits < 0 || bits > most) {
      throw new Failure('invalid_input', { message: `${JSON.stringify(range)} is neither an IP address nor a range such as 10.0.0.0/8.` });
    }
    list.addSubnet(address, bits, version === 6 ? 'ipv6' : 'ipv4');
  }
  if (ranges.length === 0) return { has: () => false, isEmpty: true };
  const known = new Map<string, boolean>();
  return {
    isEmpty: false,
    has: (address) => {
      let is = known.get(address);
      if (is === undefined) {
        is = net.isIP(address) !== 0 && list.check(address, net.isIPv6(address) ? 'ipv6' : 'ipv4');
        if (known.size >= KEPT) known.clear();
        known.set(address, is);
      }
      return is;
    },
  };
}

/** @param peer the other end of the connection. */
export function clientOf(peer: { readonly address: string; readonly scheme: 'http' | 'https' }, claims: Claims, trusted: Trusted): Client {
  const itself: Client = { address: peer.address, scheme: peer.scheme, host: null, chain: peer.address };
  if (!trusted.has(peer.address)) return itself;
  const elements = claims.forwarded === undefined ? [] : parseForwarded(claims.forwarded);
  if (elements === null) return itself;
  const listed = claims.forwardedFor === undefined ? [] : claims.forwardedFor.split(',').map((entry) => entry.trim());
  const byList = walk(peer.address, listed.map(listedAddress), trusted);
  const byElements = walk(
    peer.address,
    elements.map((element) => nodeAddress(element.get('for') ?? '')),
    trusted,
  );
  // A hop that writes the one and lets the client's other one pass must not be a way to choose an address.
  if (claims.forwardedFor !== undefined && claims.forwarded !== undefined && byList.address !== byElements.address) return itself;
  const way = claims.forwarded !== undefined && claims.forwardedFor === undefined ? byElements : byList;
  const element = elements.at(-byElements.steps);
  const said = byElements.steps > 0 && claims.forwardedFor === undefined ? element : undefined;
  const scheme = schemeOf(said?.get('proto') ?? lastOf(claims.forwardedProto)) ?? peer.scheme;
  const host = said?.get('host') ?? lastOf(claims.forwardedHost);
  return { address: way.address, scheme, host: host !== undefined && HOST.test(host) ? host.toLowerCase() : null, chain: way.chain };
}

/** From the connection backwards, while the one who says so is trusted. */
function walk(
  peer: string,
  hops: readonly (string | null)[],
  trusted: Trusted,
): { readonly address: string; readonly chain: string; readonly steps: number } {
  let address = peer;
  let chain = peer;
  let steps = 0;
  while (steps < Math.min(hops.length, MAX_HOPS) && trusted.has(address)) {
    const before = hops[hops.length - 1 - steps] ?? null;
    if (before === null) break;
    address = before;
    chain = `${before}, ${chain}`;
    steps += 1;
  }
  return { address, chain, steps };
}

/** The nearest hop's word stands last. */
function lastOf(list: string | undefined): string | undefined {
  return list === undefined ? undefined : list.slice(list.lastIndexOf(',') + 1).trim();
}

function schemeOf(text: string | undefined): 'http' | 'https' | null {
  const lower = text?.toLowerCase();
  return lower === 'http' || lower === 'https' ? lower : null;
}

/** An entry of X-Forwarded-For, with or without a port. */
function listedAddress(entry: string): string | null {
  return net.isIP(entry) === 0 ? nodeAddress(entry) : plainAddress(entry);
}

/** RFC 7239 §6: an IPv4 address, or an IPv6 one in brackets, with or without a port. `unknown` and hidden names are nobody. */
function nodeAddress(node: string): string | null {
  const six = /^\[([^\]]+)\](?::(?:\d{1,5}|_[\w.-]+))?$/u.exec(node)?.[1];
  if (six !== undefined) return net.isIPv6(six) ? plainAddress(six) : null;
  const four = /^([\d.]+)(?::(?:\d{1,5}|_[\w.-]+))?$/u.exec(node)?.[1] ?? '';
  return net.isIPv4(four) ? four : null;
}

function plainAddress(address: string): string | null {
  if (address.includes('%')) return null;
  const lower = address.toLowerCase();
  const mapped = lower.startsWith('::ffff:') ? lower.slice(7) : '';
  return net.isIPv4(mapped) ? mapped : lower;
}

const PAIR = /[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|"((?:[^"\\]|\\.)*)")[ \t]*([;,]|$)/uy;

/** RFC 7239 §4; names are lower-cased. null where it is not valid as a whole. */
export function parseForwarded(text: string): Map<string, string>[] | null {
  const elements: Map<string, string>[] = [];
  let element = new Map<string, string>();
  PAIR.lastIndex = 0;
  while (PAIR.lastIndex < text.length) {
    const found = PAIR.exec(text);
    if (found === null) return null;
    const [, name = '', token, quotedText = '', end] = found;
    const lower = name.toLowerCase();
    if (element.has(lower)) return null;
    element.set(lower, token ?? quotedText.replaceAll(/\\(.)/gu, '$1'));
    if (end === ';' || end === ',') {
      // Nothing behind it: cut off.
      if (PAIR.lastIndex >= text.length) return null;
    }
    if (end === ';') continue;
    elements.push(element);
    element = new Map();
    if (elements.length > MAX_HOPS) return null;
  }
  return elements.length === 0 ? null : elements;
}
