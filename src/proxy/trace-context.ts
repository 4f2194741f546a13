// W3C Trace Context, Level 2: a trace that came in valid goes on under a span of our own, anything else starts a new one; who sent it
// plays no part, for a trace grants nothing. Pure but for the ids that are handed in.

export interface TraceContext {
  /** 32 lower-case hexadecimal digits. */
  readonly traceId: string;
  /** Our span: the parent of whatever the target does. */
  readonly spanId: string;
  readonly traceparent: string;
  /** null: none goes on. */
  readonly tracestate: string | null;
}

/** Random lower-case hexadecimal digits. */
export type HexSource = (digits: number) => string;

const PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/u;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);
/** sampled and random (§2.2); the other bits are to be cleared. */
const KNOWN_FLAGS = 0x03;
const MEMBERS = 32;
/** What has to be passed on at least (§3.3.1.5); what is longer is shortened by whole members. */
const STATE_LENGTH = 512;
const LONG_MEMBER = 128;
const MEMBER = /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/u;

/** A new trace. It is marked as sampled: the access log records our span, and whoever follows the parent's word records theirs. */
export function startTrace(hex: HexSource): TraceContext {
  const traceId = nonZero(hex, 32);
  const spanId = nonZero(hex, 16);
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-03`, tracestate: null };
}

/** @param parents every traceparent field that came; @param states every tracestate field, in order. */
export function continueTrace(parents: readonly string[], states: readonly string[], hex: HexSource): TraceContext {
  const parent = parents.length === 1 ? PARENT.exec(parents[0] ?? '') : null;
  if (parent === null) return startTrace(hex);
  const [, version = '', traceId = '', parentId = '', flagDigits = '', more] = parent;
  // A later version may say more behind its flags; the first one may not.
  const isValid = version !== 'ff' && (version !== '00' || more === undefined) && traceId !== NO_TRACE && parentId !== NO_SPAN;
  if (!isValid) return startTrace(hex);
  const flags = (Number.parseInt(flagDigits, 16) & KNOWN_FLAGS).toString(16);
  const spanId = nonZero(hex, 16);
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-0${flags}`, tracestate: continueState(states) };
}

/** The members as one field; null where there is none or the list is not valid, which spoils all of it. */
function continueState(states: readonly string[]): string | null {
  const members: string[] = [];
  const keys = new Set<string>();
  for (const piece of states.join(',').split(',')) {
    const member = piece.replaceAll(/^[ \t]+|[ \t]+$/gu, '');
    if (member === '') continue;
    const key = member.slice(0, member.indexOf('='));
    if (!MEMBER.test(member) || keys.has(key) || members.length >= MEMBERS) return null;
    keys.add(key);
    members.push(member);
  }
  const length = (): number => members.reduce((sum, member) => sum + member.length + 1, -1);
  // Long ones first, then from the end, where the oldest stand.
  for (let index = members.length - 1; index >= 0 && length() > STATE_LENGTH; index -= 1) {
    if ((members[index]?.length ?? 0) > LONG_MEMBER) members.splice(index, 1);
  }
  while (length() > STATE_LENGTH) members.pop();
  return members.length === 0 ? null : members.join(',');
}

function nonZero(hex: HexSource, digits: 16 | 32): string {
  const none = digits === 16 ? NO_SPAN : NO_TRACE;
  let id = hex(digits);
  while (id === none) id = hex(digits);
  return id;
}
