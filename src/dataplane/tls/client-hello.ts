// What a client says first in TLS, before anything is decided: the name it asks for and the protocols it offers (RFC 8446 §4.1.2, RFC 6066
// §3, RFC 7301 §3.1). It is only looked at to choose who shakes hands; whatever is not understood here, the TLS library judges.

import type { Beginning } from '../../proxy/read-beginning.ts';

export interface ClientHello {
  /** As it was sent; null: no name. */
  readonly serverName: string | null;
  /** Of ALPN, the client's favourite first. */
  readonly protocols: readonly string[];
}

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;
const RECORD_HEAD = 5;
const MESSAGE_HEAD = 4;
/** Of the message; what clients send, post-quantum keys included, is a tenth of it. */
const MAX_BYTES = 32 * 1024;

/** Reads the numbers and vectors of TLS one after another; false or null where there are too few bytes. */
class ByteReader {
  #at = 0;
  readonly #bytes: Buffer;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  get left(): number {
    return this.#bytes.length - this.#at;
  }
  skip(count: number): boolean {
    if (this.left < count) return false;
    this.#at += count;
    return true;
  }
  /** @param width bytes, one or two. */
  number(width: number): number | null {
    if (this.left < width) return null;
    this.#at += width;
    return this.#bytes.readUIntBE(this.#at - width, width);
  }
  /** What stands behind its length. */
  vector(width: number): Buffer | null {
    const length = this.number(width);
    return length !== null && this.skip(length) ? this.#bytes.subarray(this.#at - length, this.#at) : null;
  }
}

/** @returns 'more': it is not whole; null: it is no ClientHello that could be read. */
export function parseClientHello(bytes: Buffer): ClientHello | 'more' | null {
  const message = unwrap(bytes);
  if (!Buffer.isBuffer(message)) return message;
  const reader = new ByteReader(message);
  // Version and random; then session, ciphers and compression.
  if (!reader.skip(34) || reader.vector(1) === null || reader.vector(2) === null || reader.vector(1) === null) return null;
  let serverName: string | null = null;
  let protocols: readonly string[] = [];
  if (reader.left === 0) return { serverName, protocols };
  const block = reader.vector(2);
  if (block === null || reader.left > 0) return null;
  const extensions = new ByteReader(block);
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const body = extensions.vector(2);
    if (type === null || body === null) return null;
    if (type === SERVER_NAME) serverName = nameIn(body);
    else if (type === ALPN) protocols = protocolsIn(body);
  }
  return { serverName, protocols };
}

/** The message, out of the records that carry it. */
function unwrap(bytes: Buffer): Buffer | 'more' | null {
  const pieces: Buffer[] = [];
  let gathered = 0;
  for (let at = 0; ;) {
    if (bytes.length > at && bytes[at] !== HANDSHAKE) return null;
    if (bytes.length < at + RECORD_HEAD) return 'more';
    const end = at + RECORD_HEAD + bytes.readUInt16BE(at + 3);
    // Empty ones would never end.
    if (end === at + RECORD_HEAD) return null;
    const piece = bytes.subarray(at + RECORD_HEAD, end);
    pieces.push(piece);
    gathered += piece.length;
    const all = pieces.length === 1 ? piece : Buffer.concat(pieces);
    if (all.length > 0 && all[0] !== CLIENT_HELLO) return null;
    if (all.length >= MESSAGE_HEAD) {
      const whole = MESSAGE_HEAD + all.readUIntBE(1, 3);
      if (whole > MAX_BYTES) return null;
      if (gathered >= whole) return all.subarray(MESSAGE_HEAD, whole);
    }
    if (bytes.length < end) return 'more';
    at = end;
  }
}

function nameIn(body: Buffer): string | null {
  const list = new ByteReader(body).vector(2);
  if (list === null) return null;
  const names = new ByteReader(list);
  while (names.left > 0) {
    const type = names.number(1);
    const name = names.vector(2);
    if (type === null || name === null) return null;
    if (type === 0) return name.toString('latin1');
  }
  return null;
}

function protocolsIn(body: Buffer): readonly string[] {
  const list = new ByteReader(body).vector(2);
  const protocols: string[] = [];
  if (list === null) return protocols;
  const names = new ByteReader(list);
  while (names.left > 0) {
    const name = names.vector(1);
    if (name === null) return protocols;
    protocols.push(name.toString('latin1'));
  }
  return protocols;
}

/** A look at the first bytes of a connection; `hello` null: none that could be read. */
export function lookForClientHello(bytes: Buffer): Beginning<{ readonly hello: ClientHello | null }> | null {
  const hello = parseClientHello(bytes);
  return hello === 'more' ? null : { value: { hello }, used: 0 };
}
