// Header and trailer fields of a message, in order, whatever protocol they came by. A name is looked at once per spelling: what it is
// and how it is written stand in a shared object, so that the data path compares numbers and never lower-cases on its way.

/** What a field is to a proxy. */
export const FIELD = {
  /** Crosses as it is. */
  plain: 0,
  /** Belongs to one connection and never crosses (RFC 9110 §7.6.1). */
  hop: 1,
  /** Says where a request comes from; what a client says is replaced by what the Edge knows. */
  origin: 2,
  host: 3,
  contentLength: 4,
  transferEncoding: 5,
  connection: 6,
  upgrade: 7,
  te: 8,
  expect: 9,
  trailer: 10,
} as const;

export type FieldKind = (typeof FIELD)[keyof typeof FIELD];

export interface FieldName {
  readonly lower: string;
  /** As it was written, with the colon and the space behind it. */
  readonly prefix: string;
  readonly kind: FieldKind;
  /** May travel in a trailer section (RFC 9110 §6.5.1). */
  readonly inTrailers: boolean;
}

const KINDS: Readonly<Record<string, FieldKind>> = {
  host: FIELD.host,
  'content-length': FIELD.contentLength,
  'transfer-encoding': FIELD.transferEncoding,
  connection: FIELD.connection,
  upgrade: FIELD.upgrade,
  te: FIELD.te,
  expect: FIELD.expect,
  trailer: FIELD.trailer,
  'keep-alive': FIELD.hop,
  'proxy-authenticate': FIELD.hop,
  'proxy-authorization': FIELD.hop,
  'proxy-connection': FIELD.hop,
  'http2-settings': FIELD.hop,
  'client-cert': FIELD.origin,
  'client-cert-chain': FIELD.origin,
  forwarded: FIELD.origin,
  'x-forwarded-for': FIELD.origin,
  'x-forwarded-host': FIELD.origin,
  'x-forwarded-port': FIELD.origin,
  'x-forwarded-proto': FIELD.origin,
  'x-forwarded-server': FIELD.origin,
  'x-real-ip': FIELD.origin,
  'x-request-id': FIELD.origin,
  traceparent: FIELD.origin,
  tracestate: FIELD.origin,
};

/** By which one proxy or another says who a client is or what it asked for, and which some frameworks believe from anybody. */
const CLAIMS: ReadonlySet<string> = new Set([
  'cf-connecting-ip',
  'fastly-client-ip',
  'ssl-client-cert',
  'ssl-client-verify',
  'true-client-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-envoy-external-address',
  'x-original-forwarded-for',
  'x-original-host',
  'x-original-url',
  'x-rewrite-url',
  'x-ssl-client-cert',
  'x-ssl-client-verify',
]);

function kindOf(lower: string): FieldKind {
  const kind = Object.hasOwn(KINDS, lower) ? KINDS[lower] : undefined;
  if (kind !== undefined) return kind;
  // CGI and its heirs cannot tell `X_Forwarded_For` from `X-Forwarded-For`.
  const dashed = lower.replaceAll('_', '-');
  const claims = dashed.startsWith('x-forwarded-') || dashed.startsWith('x-libra-') || CLAIMS.has(dashed);
  return claims || (Object.hasOwn(KINDS, dashed) && KINDS[dashed] === FIELD.origin) ? FIELD.origin : FIELD.plain;
}

/** Fields that frame, route, authenticate or describe a message: read before the body, so they mean nothing behind it. */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  'authorization',
  'cache-control',
  'content-encoding',
  'content-range',
  'content-type',
  'cookie',
  'set-cookie',
]);

const COMMON = [
  'Accept',
  'Accept-Encoding',
  'Accept-Language',
  'Accept-Ranges',
  'Access-Control-Allow-Origin',
  'Age',
  'Authorization',
  'Cache-Control',
  'Content-Encoding',
  'Content-Type',
  'Cookie',
  'Date',
  'ETag',
  'Expires',
  'If-Modified-Since',
  'If-None-Match',
  'Last-Modified',
  'Link',
  'Location',
  'Origin',
  'Pragma',
  'Range',
  'Referer',
  'Sec-Fetch-Dest',
  'Sec-Fetch-Mode',
  'Sec-Fetch-Site',
  'Sec-WebSocket-Accept',
  'Sec-WebSocket-Extensions',
  'Sec-WebSocket-Key',
  'Sec-WebSocket-Protocol',
  'Sec-WebSocket-Version',
  'Server',
  'Set-Cookie',
  'Strict-Transport-Security',
  'Upgrade-Insecure-Requests',
  'User-Agent',
  'Vary',
  'Via',
  'Retry-After',
  'Keep-Alive',
  'Proxy-Connection',
  'Host',
  'Content-Length',
  'Transfer-Encoding',
  'Connection',
  'Upgrade',
  'TE',
  'Expect',
  'Trailer',
] as const;

/** As this proxy and most others write them. */
const ORIGIN = ['X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Proto', 'X-Real-IP', 'X-Request-Id'] as const;

/** Spellings that are kept; what comes beyond is looked at anew each time, so that strangers cannot fill memory. */
const KEPT_SPELLINGS = 2_048;
const KEPT_LENGTH = 64;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/u;

const spellings = new Map<string, FieldName>();
/** Some of them by length, first and last letter, so that a name in a head is found without being cut out and hashed. */
const SLOTS = 1_024;
const slotSpellings: string[] = Array.from({ length: SLOTS }, () => '');
const slotNames: (FieldName | null)[] = Array.from({ length: SLOTS }, () => null);
for (const name of [...COMMON, ...ORIGIN, ...Object.keys(KINDS)]) for (const spelling of [name, name.toLowerCase()]) fieldName(spelling);

/** The name in this spelling; null where it is no token (RFC 9110 §5.6.2). */
export function fieldName(spelling: string): FieldName | null {
  const known = spellings.get(spelling);
  if (known !== undefined) return known;
  if (!TOKEN.test(spelling)) return null;
  const isKept = spellings.size < KEPT_SPELLINGS && spelling.length <= KEPT_LENGTH;
  // A text of its own: what was cut out of a head would keep the whole head.
  const own = isKept ? Buffer.from(spelling, 'latin1').toString('latin1') : spelling;
  const lower = own.toLowerCase();
  const kind = kindOf(lower);
  const made = { lower, prefix: `${own}: `, kind, inTrailers: kind === FIELD.plain && !NOT_IN_TRAILERS.has(lower) };
  if (isKept) keep(own, made);
  return made;
}

function keep(spelling: string, name: FieldName): void {
  spellings.set(spelling, name);
  const slot = slotOf(spelling.length, spelling.charCodeAt(0), spelling.charCodeAt(spelling.length - 1));
  if (slotNames[slot] !== null) return;
  slotNames[slot] = name;
  slotSpellings[slot] = spelling;
}

function slotOf(length: number, first: number, last: number): number {
  return (length * 37 + first * 11 + last) & (SLOTS - 1);
}

/** The name that stands in `text` from `from` to before `to`; null where it is no token. */
export function fieldNameIn(text: string, from: number, to: number): FieldName | null {
  const length = to - from;
  const slot = slotOf(length, text.charCodeAt(from), text.charCodeAt(to - 1));
  const spelling = slotSpellings[slot];
  if (spelling !== undefined && spelling.length === length && length > 0 && text.startsWith(spelling, from)) return slotNames[slot] ?? null;
  return fieldName(text.slice(from, to));
}

/** The name of a field that the program itself writes. Throws where it is no token. */
export function knownField(spelling: string): FieldName {
  const name = fieldName(spelling);
  if (name === null) throw new TypeError(`${JSON.stringify(spelling)} is no field name`);
  return name;
}

/** Fields in order. Values are latin1 text without surrounding white space. */
export class Fields {
  readonly names: FieldName[] = [];
  readonly values: string[] = [];

  /** From a flat list: name, value, name, value. Throws where a name is no token. */
  static of(...flat: readonly string[]): Fields {
    const fields = new Fields();
    for (let index = 0; index + 1 < flat.length; index += 2) fields.add(flat[index] ?? '', flat[index + 1] ?? '');
    return fields;
  }

  get size(): number {
    return this.names.length;
  }

  /** The first value of a lower-case name. */
  get(lower: string): string | undefined {
    const { names } = this;
    for (let index = 0; index < names.length; index += 1) if (names[index]?.lower === lower) return this.values[index];
    return undefined;
  }

  /** All values of a lower-case name as one list (RFC 9110 §5.3); cookies are joined as RFC 9113 §8.2.3 says. */
  combined(lower: string): string | undefined {
    let all: string | undefined;
    for (let index = 0; index < this.names.length; index += 1) {
      if (this.names[index]?.lower !== lower) continue;
      const value = this.values[index] ?? '';
      all = all === undefined ? value : `${all}${lower === 'cookie' ? '; ' : ', '}${value}`;
    }
    return all;
  }

  has(lower: string): boolean {
    return this.names.some((name) => name.lower === lower);
  }

  /** Throws where the name is no token. */
  add(name: string, value: string): void {
    this.push(knownField(name), value);
  }

  push(name: FieldName, value: string): void {
    this.names.push(name);
    this.values.push(value);
  }

  /** Replaces every field of that name by one. */
  set(name: string, value: string): void {
    this.delete(name.toLowerCase());
    this.add(name, value);
  }

  delete(lower: string): void {
    this.keep((name) => name.lower !== lower);
  }

  keep(wanted: (name: FieldName) => boolean): void {
    let kept = 0;
    for (let index = 0; index < this.names.length; index += 1) {
      const name = this.names[index];
      if (name === undefined || !wanted(name)) continue;
      this.names[kept] = name;
      this.values[kept] = this.values[index] ?? '';
      kept += 1;
    }
    this.names.length = kept;
    this.values.length = kept;
  }

  copy(): Fields {
    const fields = new Fields();
    for (let index = 0; index < this.names.length; index += 1) {
      const name = this.names[index];
      if (name !== undefined) fields.push(name, this.values[index] ?? '');
    }
    return fields;
  }

  /** `Name: value` lines, each with its CRLF. */
  text(): string {
    let text = '';
    for (let index = 0; index < this.names.length; index += 1) text += `${this.names[index]?.prefix ?? ''}${this.values[index] ?? ''}\r\n`;
    return text;
  }

  /** Pairs of lower-case name and value, for logs and tests. */
  pairs(): [string, string][] {
    return this.names.map((name, index) => [name.lower, this.values[index] ?? '']);
  }
}
