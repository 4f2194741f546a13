// What a request is aimed at (RFC 9112 §3.2): one canonical host and path, which decides the Route and is what the target gets. Two
// parties that read a path differently are how guarded paths are reached unguarded; so whatever could be read in two ways is brought
// into one form here, or refused.

import { authorityText, parseAuthority } from './host.ts';
import type { HostAndPort } from './host.ts';

export interface CanonicalTarget {
  readonly type: 'target';
  /** Canonical, for the table. */
  readonly host: string;
  /** Canonical, with the port that was written: for the Host field. */
  readonly authority: string;
  /** Begins with a slash; `*` for OPTIONS as it is. No dot segments, no empty segments, encoded in one way. */
  readonly path: string;
  /** With its question mark; '' where there is none. As it was written. */
  readonly query: string;
  /**
   * The path as a target reads it that takes an encoded slash or backslash for a slash; null where the path has none. If it leads to
   * another Route than `path` does, the request is ambiguous.
   */
  readonly decodedPath: string | null;
}

export interface BadTarget {
  readonly type: 'bad';
  readonly why: string;
}

const bad = (why: string): BadTarget => ({ type: 'bad', why });

/** @param target as in the request line, visible ASCII only. @param hostField value of Host or :authority. */
export function canonicalTarget(method: string, target: string, hostField: string): CanonicalTarget | BadTarget {
  let rest = target;
  const named = namedBy(hostField);
  if (named === null) return bad('the Host field names no host');
  if (target.charCodeAt(0) !== SLASH) {
    if (target === '*') {
      if (method !== 'OPTIONS') return bad('only OPTIONS may ask for *');
      return {
        type: 'target',
        host: named.host,
        authority: named.authority,
        path: '*',
        query: '',
        decodedPath: null,
      };
    }
    const absolute = /^https?:\/\/([^/?#]*)(.*)$/iu.exec(target);
    const authority = absolute === null ? null : parseAuthority(absolute[1] ?? '');
    if (absolute === null || authority === null) return bad('the request target is no path');
    // The request line would count (RFC 9112 §3.2.2), and a target might read the other one.
    if (authority.host !== named.host || (authority.port ?? named.port) !== (named.port ?? authority.port)) {
      return bad('the request line and the Host field name different hosts');
    }
    rest = absolute[2] ?? '';
    if (!rest.startsWith('/')) rest = `/${rest}`;
  }
  const plainEnd = plainPathEnd(rest);
  const mark = plainEnd === -1 ? rest.indexOf('?') : plainEnd;
  const query = mark === -1 || mark === rest.length ? '' : rest.slice(mark);
  if (query.includes('#')) return bad('the request target has a fragment');
  const written = query === '' ? rest : rest.slice(0, mark);
  const path = plainEnd === -1 ? canonicalPath(written) : { path: written, decodedPath: null };
  if (typeof path === 'string') return bad(path);
  const { host, authority } = named;
  // Each by its name: every request pays for this one, and a spread is several times as dear.
  return { type: 'target', host, authority, path: path.path, query, decodedPath: path.decodedPath };
}

interface Named extends HostAndPort {
  /** Canonical. */
  readonly authority: string;
}

const KEPT_HOSTS = 256;
const KEPT_HOST_LENGTH = 64;
/** Host fields that were understood, each where its spelling puts it: one after the other says the same. */
const keptFields: string[] = Array.from({ length: KEPT_HOSTS }, () => '');
const keptNames: (Named | null)[] = Array.from({ length: KEPT_HOSTS }, () => null);

function namedBy(hostField: string): Named | null {
  const { length } = hostField;
  const slot =
    (length * 31 + hostField.charCodeAt(0) * 7 + hostField.charCodeAt(length - 1) + hostField.charCodeAt(length >> 1)) & (KEPT_HOSTS - 1);
  const kept = keptNames[slot];
  if (kept !== null && kept !== undefined && keptFields[slot] === hostField) return kept;
  // A text of its own: what was cut out of a head would keep the whole head.
  const isKept = length > 0 && length <= KEPT_HOST_LENGTH;
  const own = isKept ? String.fromCharCode(...Array.from(hostField, (character) => character.charCodeAt(0))) : hostField;
  const parsed = parseAuthority(own);
  if (parsed === null) return null;
  const named = { ...parsed, authority: authorityText(parsed.host, parsed.port) };
  if (isKept) {
    keptFields[slot] = own;
    keptNames[slot] = named;
  }
  return named;
}

const SLASH = 47;
const DOT = 46;
const QUESTION = 63;
const PERCENT = 37;

/** Characters that stand for themselves in a path (RFC 3986 §3.3): unreserved, sub-delims, colon, at. */
const IN_PATH = flags("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/");
/** Characters that are the same encoded or not (RFC 3986 §2.3). */
const UNRESERVED = flags('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~');

function flags(characters: string): Uint8Array {
  const table = new Uint8Array(128);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}

/** Where the path ends, if it is canonical as it stands; −1 where it has to be looked at closely. */
function plainPathEnd(text: string): number {
  let index = 0;
  for (; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === QUESTION) break;
    if (IN_PATH[code] !== 1) return -1;
    if (code === SLASH) {
      const next = text.charCodeAt(index + 1);
      if (next === SLASH || next === DOT) return -1;
    }
  }
  return index;
}

/** The path in its one form, or why it has none. */
function canonicalPath(written: string): { readonly path: string; readonly decodedPath: string | null } | string {
  let encoded = '';
  for (let index = 0; index < written.length; index += 1) {
    const code = written.charCodeAt(index);
    if (code === PERCENT) {
      const value = hexPair(written, index + 1);
      if (value === -1) return 'the path has a percent sign that encodes nothing';
      if (value < 32 || value === 127) return 'the path has an encoded control character';
      index += 2;
      if (UNRESERVED[value] === 1) encoded += String.fromCharCode(value);
      else encoded += percent(value);
    } else if (code === HASH) return 'the request target has a fragment';
    else if (code === BACKSLASH) return 'the path has a backslash';
    else encoded += IN_PATH[code] === 1 ? written.charAt(index) : percent(code);
  }
  const path = withoutDots(encoded);
  if (path === null) return 'the path climbs above its root';
  const decodedPath = path.replaceAll(/%2F|%5C/gu, '/');
  if (decodedPath === path) return { path, decodedPath: null };
  // Nothing that is left in the path may change it once more when a target decodes it.
  if (withoutDots(decodedPath) !== decodedPath) return 'the path has an encoded slash beside a dot or another slash';
  return { path, decodedPath };
}

const HASH = 35;
const BACKSLASH = 92;

/** RFC 3986 §5.2.4, with empty segments left out; null where it climbs above the root, or hides a dot segment behind parameters. */
function withoutDots(path: string): string | null {
  const kept: string[] = [];
  const segments = path.split('/');
  for (let index = 1; index < segments.length; index += 1) {
    const segment = segments[index] ?? '';
    const last = index === segments.length - 1;
    if (segment === '..') {
      if (kept.length === 0) return null;
      kept.pop();
      if (last) kept.push('');
    } else if (segment === '.' || segment === '') {
      if (last) kept.push('');
    } else if (/^\.\.?;/u.test(segment)) return null;
    else kept.push(segment);
  }
  return `/${kept.join('/')}`;
}

function percent(code: number): string {
  return `%${code.toString(16).toUpperCase().padStart(2, '0')}`;
}

/** Value of two hexadecimal digits; −1 where they are not. */
function hexPair(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at));
  const low = hexDigit(text.charCodeAt(at + 1));
  return high === -1 || low === -1 ? -1 : high * 16 + low;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 65 && code <= 70) return code - 55;
  return code >= 97 && code <= 102 ? code - 87 : -1;
}
