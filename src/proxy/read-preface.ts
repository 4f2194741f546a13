// Tells which protocol a plain connection begins with, by its first bytes. No HTTP/1.1 request begins as HTTP/2 does: the method PRI is
// reserved (RFC 9113 §11.6).

import type { Beginning } from './read-beginning.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** A look at the first bytes; what is over before it is whole is a request in itself, and whoever reads it says what is wrong. */
export function lookForPreface(bytes: Buffer, over: boolean): Beginning<'http/1.1' | 'h2'> | null {
  const common = Math.min(bytes.length, PREFACE.length);
  if (common === PREFACE.length && bytes.subarray(0, common).equals(PREFACE)) return { value: 'h2', used: 0 };
  if (over ? common > 0 : !bytes.subarray(0, common).equals(PREFACE.subarray(0, common))) return { value: 'http/1.1', used: 0 };
  return null;
}
