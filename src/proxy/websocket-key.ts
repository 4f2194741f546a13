// The handshake of a WebSocket over HTTP/1.1 (RFC 6455 §4), for where only one of the two sides speaks it: HTTP/2 has none (RFC 8441).

import { createHash, randomBytes } from 'node:crypto';

const SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export function webSocketKey(): string {
  return randomBytes(16).toString('base64');
}

/** What Sec-WebSocket-Accept says to a key. */
export function webSocketAccept(key: string): string {
  return createHash('sha1').update(key).update(SUFFIX).digest('base64');
}
