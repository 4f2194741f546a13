// The PROXY protocol header of a connection: a look at its first bytes, of which the header is used up.

import { createProxyHeaderReader } from './proxy-protocol.ts';
import type { ProxyHeader } from './proxy-protocol.ts';
import type { LookAt } from './read-beginning.ts';

/** Null with the reason why there is none. For one connection. */
export function createProxyHeaderLook(): LookAt<{ readonly header: ProxyHeader } | { readonly header: null; readonly why: string }> {
  const reader = createProxyHeaderReader();
  let fed = 0;
  return (bytes, over) => {
    const result = reader.push(bytes.subarray(fed));
    fed = bytes.length;
    if (result.type === 'refused') return { value: { header: null, why: result.why }, used: bytes.length };
    if (result.type !== 'more') return { value: { header: result.header }, used: bytes.length - result.rest.length };
    return over
      ? { value: { header: null, why: 'the connection ended, or the time was over, before its header had come' }, used: fed }
      : null;
  };
}
