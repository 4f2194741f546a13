// How the versions of an Environment share its requests: one candidate beside all the rest. Pure: the same request facts give the same
// answer on every Edge, and a user who was shown the candidate keeps it for as long as its share grows.

/** Requests that go to the candidate whatever the share says. `value` null: the field is there, whatever it holds. */
export interface SplitRule {
  readonly kind: 'header' | 'cookie';
  /** Header names in lower case. */
  readonly name: string;
  readonly value: string | null;
}

/** What a user is known by. A cookie without a name is the Edge's own. */
export type Sticky =
  | { readonly kind: 'cookie'; readonly name: string | null }
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'address' };

export interface Share {
  /** Share of the candidate, 0 to 100. */
  readonly percent: number;
  readonly rules: readonly SplitRule[];
  /** null: every request by itself. */
  readonly sticky: Sticky | null;
}

/** The share of one Deployment of an Environment; all others have the rest. */
export interface TrafficSplit extends Share {
  readonly deploymentId: string;
}

/** What is asked about a request; nothing is read that does not decide. */
export interface SplitFacts {
  /** All values of a lower-case name as one text. */
  header(name: string): string | undefined;
  readonly address: string;
  /** Evenly from 0 to below 1. */
  random(): number;
  /** An unguessable name for a user who has none yet. */
  newUser(): string;
}

export interface SplitChoice {
  readonly candidate: boolean;
  /** The user's name that the answer shall set as the Edge's own cookie; null: nothing to set. */
  readonly setUser: string | null;
}

/** The Edge's own cookie. */
export const USER_COOKIE = 'libra_user';
const USER = /^[\w-]{16,64}$/u;

/** Whose a request is. `candidateId` goes into the hash, so that it is not always the same users who are first. */
export function chooseVersion(share: Share, candidateId: string, facts: SplitFacts): SplitChoice {
  const { sticky, percent } = share;
  for (const rule of share.rules) if (isMet(rule, facts)) return { candidate: true, setUser: null };
  if (percent <= 0) return { candidate: false, setUser: null };
  if (percent >= 100) return { candidate: true, setUser: null };
  if (sticky === null) return { candidate: facts.random() * 100 < percent, setUser: null };
  let user: string | undefined;
  let setUser: string | null = null;
  switch (sticky.kind) {
    case 'header':
      user = facts.header(sticky.name);
      break;
    case 'cookie':
      user = cookieOf(facts.header('cookie'), sticky.name ?? USER_COOKIE);
      if (sticky.name === null && (user === undefined || !USER.test(user))) {
        setUser = facts.newUser();
        user = setUser;
      }
      break;
    case 'address':
      break;
  }
  // Who is not known by what was asked for is known by the address at least.
  const key = user === undefined || user === '' ? facts.address : user;
  return { candidate: isWithin(candidateId, key, percent), setUser };
}

function isMet(rule: SplitRule, facts: SplitFacts): boolean {
  const found = rule.kind === 'header' ? facts.header(rule.name) : cookieOf(facts.header('cookie'), rule.name);
  return found !== undefined && (rule.value === null || rule.value === found);
}

/** Whether a user is among the first `percent` of 100, in an order that `salt` shuffles; grows with `percent` alone. */
export function isWithin(salt: string, key: string, percent: number): boolean {
  return (hash(`${salt}\n${key}`) / 2 ** 32) * 100 < percent;
}

/** FNV-1a with the finaliser of MurmurHash3, so that names that differ by one character are far apart. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

/** The first value of a cookie in the text of Cookie (RFC 6265 §5.4). */
export function cookieOf(header: string | undefined, name: string): string | undefined {
  if (header === undefined) return undefined;
  for (let start = 0; start < header.length;) {
    const semicolon = header.indexOf(';', start);
    const end = semicolon === -1 ? header.length : semicolon;
    const equals = header.indexOf('=', start);
    if (equals !== -1 && equals < end && header.slice(start, equals).trim() === name) {
      const value = header.slice(equals + 1, end).trim();
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
    start = end + 1;
  }
  return undefined;
}
