// A request as Routes ask about it. Query and cookies are taken apart when the first Route wants to know.

import type { MatchInput } from '../model/route-table.ts';
import type { RequestHead } from '../proxy/message.ts';

export class Asked implements MatchInput {
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly address: string;
  readonly #head: RequestHead;
  readonly #queryText: string;
  #query: URLSearchParams | null = null;
  #cookies: ReadonlyMap<string, string> | null = null;

  /** @param query with its question mark, or ''. @param address the client's, as trusted hops vouch for it. */
  constructor(head: RequestHead, host: string, path: string, query: string, address: string) {
    this.host = host;
    this.path = path;
    this.method = head.method;
    this.address = address;
    this.#head = head;
    this.#queryText = query;
  }

  header(lower: string): string | undefined {
    return this.#head.fields.combined(lower);
  }

  query(name: string): string | undefined {
    this.#query ??= new URLSearchParams(this.#queryText);
    return this.#query.get(name) ?? undefined;
  }

  cookie(name: string): string | undefined {
    this.#cookies ??= parseCookies(this.#head.fields.combined('cookie') ?? '');
    return this.#cookies.get(name);
  }
}

/** Of a name that is there twice, the first. */
function parseCookies(text: string): ReadonlyMap<string, string> {
  const cookies = new Map<string, string>();
  for (const part of text.split(';')) {
    const equals = part.indexOf('=');
    if (equals === -1) continue;
    const name = part.slice(0, equals).trim();
    if (name !== '' && !cookies.has(name)) cookies.set(name, part.slice(equals + 1).trim());
  }
  return cookies;
}
