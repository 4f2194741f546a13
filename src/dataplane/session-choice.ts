// Which developer's session a request belongs to: the one that the way it came in by names, or the request itself, by header, cookie or
// W3C baggage. What is no key names none.

import { isName } from '../model/names.ts';
import { cookieOf } from '../model/traffic-split.ts';
import { knownField } from '../proxy/fields.ts';
import type { Fields } from '../proxy/fields.ts';

const FIELD = knownField('X-Libra-Session');
/** Of the cookie and of the member of the baggage. */
const NAME = 'libra-session';

interface Facts {
  /** All values of a lower-case name as one text. */
  header(name: string): string | undefined;
}

/**
 * The key of a request's session; null: it has none. The target is told it too, so that whatever that calls in turn belongs to it.
 * @param way key of the way that it came in by; absent: that names none. @param origin for the target.
 */
export function markSession(way: string | undefined, facts: Facts, origin: Fields): string | null {
  const baggage = baggageOf(facts.header('baggage'));
  const key = way ?? facts.header(FIELD.lower) ?? cookieOf(facts.header('cookie'), NAME) ?? baggage;
  if (key === undefined || !isName(key)) return null;
  origin.push(FIELD, key);
  if (baggage === undefined) origin.add('baggage', `${NAME}=${key}`);
  return key;
}

/** https://www.w3.org/TR/baggage/: members apart by commas, each `key=value` with properties behind a semicolon. */
function baggageOf(baggage: string | undefined): string | undefined {
  if (baggage === undefined) return undefined;
  for (const member of baggage.split(',')) {
    const equals = member.indexOf('=');
    if (equals !== -1 && member.slice(0, equals).trim() === NAME)
      return member
        .slice(equals + 1)
        .split(';', 1)[0]
        ?.trim();
  }
  return undefined;
}
