// What the server needs to know to hand a call on to the control plane that leads.

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Endpoint } from '../api/endpoint.ts';
import type { Forward } from './leadership/forward.ts';
import type { LeaderElsewhere } from './leadership/leadership.ts';
import { VOUCHED } from './leadership/vouch.ts';
import type { Vouching } from './leadership/vouch.ts';
import type { Machines } from './cluster/machines.ts';
import type { MachineClaim } from './handler.ts';
import type { Bound } from './server-bind.ts';
import type { ServerLimits } from './server-http.ts';
import { peerCertificate } from './server-pipeline.ts';

export interface HandOn {
  /** null: it is answered here. Throws `unavailable` where nobody can answer it. */
  leaderFor(bound: Bound, headers: IncomingHttpHeaders): LeaderElsewhere | null;
  readonly forward: Forward;
  /** How it is told which key a machine has shown. */
  readonly vouching: Vouching;
  readonly machines: Pick<Machines, 'claimOf'>;
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

/** The headers that say which key a machine has shown, where its call has no credential of its own. */
export function vouchFor(handOn: HandOn, bound: Bound, request: IncomingMessage): Readonly<Record<string, string>> {
  const certificate = peerCertificate(request.socket);
  if (bound.endpoint.permission === 'public' || request.headers.authorization !== undefined || certificate === null) return {};
  return { [VOUCHED]: handOn.vouching.vouch(handOn.machines.claimOf(certificate), request.method ?? 'GET', request.url ?? '/') };
}

/** What another control plane vouches for; null: nothing. */
export function vouchedIn(handOn: HandOn, request: IncomingMessage): MachineClaim | null {
  return handOn.vouching.vouched(request.headers, request.method ?? 'GET', request.url ?? '/');
}
