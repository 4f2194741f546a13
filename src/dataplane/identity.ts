// Who a request comes from and which trace it belongs to, and what the target is told about both. What a client says about itself never
// reaches a target: it is replaced by what the Edge knows, or by what a trusted hop says.

import { createHexSource, createSerialIds } from '../lib/id.ts';
import { clientOf } from '../proxy/client-address.ts';
import type { Client, Trusted } from '../proxy/client-address.ts';
import { FIELD, Fields, knownField } from '../proxy/fields.ts';
import type { ClientStream } from '../proxy/message.ts';
import { continueTrace, startTrace } from '../proxy/trace-context.ts';
import type { HexSource, TraceContext } from '../proxy/trace-context.ts';

export interface Identity {
  readonly client: Client;
  readonly requestId: string;
  readonly trace: TraceContext;
  /** For the target. */
  readonly origin: Fields;
}

export interface IdentityOptions {
  readonly trusted: Trusted;
  readonly hex?: HexSource;
  readonly nextRequestId?: () => string;
}

const FORWARDED_FOR = knownField('X-Forwarded-For');
const FORWARDED_PROTO = knownField('X-Forwarded-Proto');
const FORWARDED_HOST = knownField('X-Forwarded-Host');
const REQUEST_ID = knownField('X-Request-Id');
const TRACEPARENT = knownField('traceparent');
const TRACESTATE = knownField('tracestate');

const PLAIN_ID = /^[\w.:-]{1,128}$/u;

/** @param authority host and port as they were asked for, canonical. */
export type Identify = (stream: ClientStream, authority: string) => Identity;

export function createIdentify(options: IdentityOptions): Identify {
  const { trusted, hex = createHexSource(), nextRequestId = createSerialIds() } = options;
  return ({ head, connection }, authority) => {
    const { names, values } = head.fields;
    const isTrusted = trusted.has(connection.address);
    let said: Said | null = null;
    for (let index = 0; index < names.length; index += 1) {
      const name = names[index];
      if (name?.kind === FIELD.origin) (said ??= new Said()).add(name.lower, values[index] ?? '');
    }
    const client: Client =
      isTrusted && said !== null
        ? clientOf(connection, said, trusted)
        : { address: connection.address, scheme: connection.scheme, host: null, chain: connection.address };
    const trace = said === null || said.parents.length === 0 ? startTrace(hex) : continueTrace(said.parents, said.states, hex);
    const given = isTrusted ? said?.requestId : undefined;
    const requestId = given !== undefined && PLAIN_ID.test(given) ? given : nextRequestId();
    const origin = new Fields();
    origin.push(FORWARDED_FOR, client.chain);
    origin.push(FORWARDED_PROTO, client.scheme);
    origin.push(FORWARDED_HOST, client.host ?? authority);
    origin.push(REQUEST_ID, requestId);
    origin.push(TRACEPARENT, trace.traceparent);
    if (trace.tracestate !== null) origin.push(TRACESTATE, trace.tracestate);
    // A trusted hop may know more: who has signed in, which port was asked.
    if (isTrusted && said !== null) for (const [name, value] of said.further) origin.add(name, value);
    return { client, requestId, trace, origin };
  };
}

/** The fields of a request that say where it comes from. */
class Said {
  forwardedFor: string | undefined;
  forwardedProto: string | undefined;
  forwardedHost: string | undefined;
  forwarded: string | undefined;
  requestId: string | undefined;
  readonly parents: string[] = [];
  readonly states: string[] = [];
  readonly further: (readonly [string, string])[] = [];

  add(lower: string, value: string): void {
    switch (lower) {
      case 'traceparent':
        this.parents.push(value);
        return;
      case 'tracestate':
        this.states.push(value);
        return;
      case 'x-forwarded-for':
        this.forwardedFor = joined(this.forwardedFor, value);
        return;
      case 'x-forwarded-proto':
        this.forwardedProto = joined(this.forwardedProto, value);
        return;
      case 'x-forwarded-host':
        this.forwardedHost = joined(this.forwardedHost, value);
        return;
      case 'forwarded':
        this.forwarded = joined(this.forwarded, value);
        return;
      case 'x-request-id':
        // Two are none.
        this.requestId = joined(this.requestId, value);
        return;
      case 'x-real-ip':
        return;
      default:
        // The platform's own are its alone, and an underscore is only a way around a name.
        if (!lower.startsWith('x-libra-') && !lower.includes('_')) this.further.push([lower, value]);
    }
  }
}

function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`;
}
