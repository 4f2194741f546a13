// The head of an HTTP/2 request (RFC 9113 §8.3), as strict as the one of HTTP/1.1: what a target would read in another way over HTTP/1.1
// than was meant over HTTP/2 is refused here, whatever the library below lets through.

import { FIELD, Fields, fieldName } from '../fields.ts';
import type { RequestHead } from '../message.ts';
import { UNKNOWN_LENGTH } from '../message.ts';

export interface RefusedHead {
  readonly type: 'refused';
  readonly status: 400 | 414 | 417 | 501;
  readonly why: string;
}

export interface ReadHead {
  readonly type: 'request';
  readonly head: RequestHead;
  /** As it came, names and values, bytes. */
  readonly bytes: number;
}

const MAX_TARGET_BYTES = 16 * 1024;
const MAX_METHOD_LENGTH = 32;
const MAX_LENGTH_DIGITS = 15;
const VISIBLE = /^[\x21-\x7e]+$/u;
/** Neither control characters, nor white space at the ends (RFC 9113 §8.2.1). */
const VALUE = /^(?![\t ])[\t\x20-\x7e\x80-\xff]*(?<![\t ])$/u;

const refused = (why: string, status: RefusedHead['status'] = 400): RefusedHead => ({ type: 'refused', status, why });

interface Pseudo {
  ':method'?: string;
  ':scheme'?: string;
  ':path'?: string;
  ':authority'?: string;
  ':protocol'?: string;
}

/** @param raw names and values, one after the other. @param bodiless no body follows. */
export function readRequestHead(raw: readonly string[], bodiless: boolean): ReadHead | RefusedHead {
  const pseudo: Pseudo = {};
  const fields = new Fields();
  let bytes = 0;
  let host: string | null = null;
  let length = -1;
  let te = false;
  let expects = false;
  let cookieAt = -1;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const spelling = raw[index] ?? '';
    const value = raw[index + 1] ?? '';
    bytes += spelling.length + value.length;
    if (spelling.charCodeAt(0) === 58) {
      // Twice, unknown, or behind the others: the library has refused it.
      if (!isPseudo(spelling) || pseudo[spelling] !== undefined) return refused('a pseudo field is there twice or not known');
      pseudo[spelling] = value;
      continue;
    }
    const name = fieldName(spelling);
    if (name === null || name.lower !== spelling) return refused('a field name is not valid');
    if (!VALUE.test(value)) return refused('a field value has a control character or white space at an end');
    switch (name.kind) {
      case FIELD.plain:
      case FIELD.origin:
        // May come in crumbs; behind an HTTP/1.1 field there is one (RFC 9113 §8.2.3).
        if (spelling === 'cookie' && cookieAt !== -1) fields.values[cookieAt] = `${fields.values[cookieAt] ?? ''}; ${value}`;
        else {
          if (spelling === 'cookie') cookieAt = fields.size;
          fields.push(name, value);
        }
        break;
      case FIELD.trailer:
        fields.push(name, value);
        break;
      case FIELD.host:
        if (host !== null) return refused('there is more than one Host field');
        host = value;
        break;
      case FIELD.contentLength:
        if (length !== -1) return refused('there is more than one Content-Length');
        if (!/^\d+$/u.test(value) || value.length > MAX_LENGTH_DIGITS) return refused('Content-Length is no plain number');
        length = Number(value);
        break;
      case FIELD.te:
        if (value.toLowerCase() !== 'trailers') return refused('TE is something else than trailers');
        te = true;
        break;
      case FIELD.expect:
        if (value.toLowerCase() !== '100-continue') return refused('what Expect asks for is not known here', 417);
        expects = true;
        break;
      case FIELD.transferEncoding:
      case FIELD.connection:
      case FIELD.upgrade:
      case FIELD.hop:
        return refused(`${spelling} has no place in HTTP/2`);
    }
  }
  const { ':method': method = '', ':path': target = '', ':scheme': scheme, ':authority': authority, ':protocol': protocol } = pseudo;
  if (method.length > MAX_METHOD_LENGTH || fieldName(method) === null) return refused('the method is not valid');
  if (method === 'CONNECT' && protocol === undefined) return refused('CONNECT asks for a tunnel, which is not to be had here');
  if (protocol !== undefined && (method !== 'CONNECT' || protocol !== 'websocket')) return refused(':protocol is not websocket', 501);
  if (scheme !== 'http' && scheme !== 'https') return refused(':scheme is neither http nor https');
  if (target.length > MAX_TARGET_BYTES) return refused(`the request target is longer than ${MAX_TARGET_BYTES} bytes`, 414);
  // An absolute form is read as HTTP/1.1 reads it, and would win over :authority.
  if (!VISIBLE.test(target) || (target !== '*' && !target.startsWith('/'))) return refused(':path is not a path');
  if (authority !== undefined && host !== null && authority !== host) return refused(':authority and Host differ');
  const named = authority ?? host;
  if (named === null || !VISIBLE.test(named)) return refused('neither :authority nor Host names a host');
  if (bodiless && length > 0) return refused('the body that Content-Length announces is not there');
  const upgrade = protocol === undefined ? null : 'websocket';
  if (upgrade !== null) {
    if (length !== -1) return refused('a WebSocket has no Content-Length');
    // Means nothing over HTTP/2, and the target shall not answer to a key that is not ours.
    fields.delete('sec-websocket-key');
  }
  const bodyLength = bodiless || upgrade !== null ? 0 : length === -1 ? UNKNOWN_LENGTH : length;
  return {
    type: 'request',
    bytes,
    head: {
      version: '2',
      method: upgrade === null ? method : 'GET',
      target,
      host: named,
      fields,
      length: bodyLength,
      upgrade,
      expectsContinue: expects && bodyLength !== 0,
      takesTrailers: te,
    },
  };
}

function isPseudo(name: string): name is keyof Pseudo {
  return name === ':method' || name === ':path' || name === ':scheme' || name === ':authority' || name === ':protocol';
}
