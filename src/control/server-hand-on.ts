// What the server needs to know to hand a call on to the control plane that leads.

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Endpoint } from '../api/endpoint.ts';
import type { Forward } from './leadership/forward.ts';
import type { LeaderElsewhere } from './leadership/leadership.ts';
import { VOUCHED } from './leadership/vouch.ts';
import type { Vouching } from './leadership/vouch.ts';
import { PERMISSIONS_OF } from './auth/permissions.ts';
import type { Principal } from './handler.ts';
import type { Bound } from './server-bind.ts';
import type { ServerLimits } from './server-http.ts';
import { identify, showsCertificate } from './server-pipeline.ts';
import type { Gate } from './server-pipeline.ts';

export interface HandOn {
  /** null: it is answered here. Throws `unavailable` where nobody can answer it. */
  leaderFor(bound: Bound, headers: IncomingHttpHeaders): LeaderElsewhere | null;
  readonly forward: Forward;
  /** Whose a call is that comes with a certificate, told to the other side and believed of it. */
  readonly vouching: Vouching;
  nodeExists(id: string): boolean;
  /** Of the own view, which holds whatever a handler has written. */
  revision(): number;
}

/** Of what does not run a handler to its end before it answers. */
const HEAD_MS = 15_000;
/** The other side says itself that a handler took too long. */
const SLACK_MS = 5_000;

/** How long the reply may let wait, milliseconds. */
export function headMsOf(endpoint: Endpoint, limits: ServerLimits): number {
  return endpoint.kind === 'json' ? limits.handlerMs + SLACK_MS : HEAD_MS;
}

/** The headers that say whose call it is, where its own do not. Throws `unauthenticated` where a certificate is nobody's. */
export async function vouchFor(
  handOn: HandOn,
  gate: Gate,
  bound: Bound,
  request: IncomingMessage,
): Promise<Readonly<Record<string, string>>> {
  if (bound.endpoint.permission === 'public' || request.headers.authorization !== undefined || !showsCertificate(request)) return {};
  const principal = await identify(gate, bound, request);
  if (principal.kind !== 'node' && principal.kind !== 'edge') return {};
  return { [VOUCHED]: handOn.vouching.vouch(principal, request.method ?? 'GET', request.url ?? '/') };
}

/** Whom another control plane has vouched for; null: nobody, and the call has to show who it is. */
export function vouchedPrincipal(handOn: HandOn, request: IncomingMessage): Principal | null {
  const machine = handOn.vouching.vouched(request.headers, request.method ?? 'GET', request.url ?? '/');
  if (machine === null || !handOn.nodeExists(machine.nodeId)) return null;
  return { ...machine, name: `${machine.kind}/${machine.nodeId}`, permissions: PERMISSIONS_OF[machine.kind] };
}
