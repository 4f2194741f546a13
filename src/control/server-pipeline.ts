// The one choke point (invariant 7): who → may this kind of principal at all → is the input valid → may they on this very object →
// call. Every way in, plain, stream, upload or socket, goes through these functions and nowhere around them.

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { X509Certificate } from 'node:crypto';
import type { Endpoint, Permission } from '../api/endpoint.ts';
import { Failure } from '../lib/failure.ts';
import { isLostRace } from '../store/view.ts';
import { checkParams } from './server-bind.ts';
import type { AnyCall, Bound } from './server-bind.ts';
import type { ByteRange } from './server-transfer.ts';
import type { MachineClaim, Principal } from './handler.ts';

/** Each time somebody else has won, so even many writers of one record get their turn. */
const RACE_ATTEMPTS = 10;

/** What a machine shows in place of a token. */
export interface MachineCredential {
  /** A certificate that TLS has checked against the authority of machines, or what another control plane says of one. */
  readonly shown: X509Certificate | MachineClaim;
  /** For what it comes. */
  readonly permission: Permission;
}

export interface Gate {
  /** The principal of the `authorization` header, else of the certificate; throws `unauthenticated`. */
  readonly authenticate: (header: string | undefined, machine?: MachineCredential) => Principal | Promise<Principal>;
  /** What another control plane, which hands the call on, has seen of a machine; null or absent: nothing. */
  readonly vouched?: (request: IncomingMessage) => MachineClaim | null;
  /** Whether the principal may do this to the object that the path parameters name; throws `forbidden`. */
  readonly authorise: (principal: Principal, endpoint: Endpoint, params: Readonly<Record<string, string>>) => void | Promise<void>;
}

export const ANONYMOUS: Principal = { kind: 'anonymous', name: 'anonymous', permissions: new Set(['public']) };

/** Who is it? Before the body is read. */
export async function identify(gate: Gate, bound: Bound, request: IncomingMessage): Promise<Principal> {
  const { permission } = bound.endpoint;
  if (permission === 'public') return ANONYMOUS;
  const shown = gate.vouched?.(request) ?? peerCertificate(request.socket);
  return await gate.authenticate(request.headers.authorization, shown === null ? undefined : { shown, permission });
}

const certificates = new WeakMap<Socket, X509Certificate>();

/** What the other end has shown and TLS has found to be of our authority; null: nothing. */
export function peerCertificate(socket: Socket): X509Certificate | null {
  if (!('authorized' in socket) || socket.authorized !== true || !(socket instanceof TLSSocket)) return null;
  const certificate = certificates.get(socket) ?? socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  certificates.set(socket, certificate);
  return certificate;
}

/** Has this kind of principal the permission at all? Before the body is read. */
export function requirePermission(bound: Bound, principal: Principal): void {
  const { permission } = bound.endpoint;
  if (principal.permissions.has(permission)) return;
  throw new Failure('forbidden', {
    message: `${principal.name} has not the permission ${permission}, which ${bound.name} needs.`,
    ...(principal.kind === 'instance' && permission.startsWith('librad.')
      ? { hint: `Add ${permission} to \`uses\` in the App's libra.yaml and deploy it.` }
      : {}),
    details: { permission, principal: principal.kind },
  });
}

export interface RawInput {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly principal: Principal;
  readonly requestId: string;
  readonly signal: AbortSignal;
  readonly lastEventId?: string | null;
  readonly stream?: Readable | null;
  readonly range?: ByteRange | null;
}

/** Validates, then authorises on the object; the call is ready to be handed to the handler. */
export async function prepare(gate: Gate, bound: Bound, input: RawInput): Promise<AnyCall> {
  const params = checkParams(input.params);
  const query = bound.parseQuery(input.query);
  const body = bound.endpoint.kind === 'upload' ? undefined : bound.parseBody(input.body);
  if (bound.endpoint.permission !== 'public') await gate.authorise(input.principal, bound.endpoint, params);
  return {
    params,
    query,
    body,
    principal: input.principal,
    requestId: input.requestId,
    signal: input.signal,
    lastEventId: input.lastEventId ?? null,
    stream: input.stream ?? null,
    range: input.range ?? null,
  };
}

/** The JSON text of a plain reply, as its contract shapes it; null for an endpoint without a reply. */
export async function callForJson(bound: Bound, call: AnyCall): Promise<string | null> {
  const reply = bound.parseReply(await bound.handler(call));
  return reply === undefined ? null : JSON.stringify(reply);
}

/**
 * Runs a write again where it lost a race against another writer of the same record, most often a reconciler: nobody asked for that, so
 * nobody need hear of it. Nothing of the lost commit was written; one that was made before it is found by its recordId.
 */
export async function repeatLostRace<T>(write: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await write();
    } catch (error) {
      if (!isLostRace(error) || attempt >= RACE_ATTEMPTS) throw error;
    }
  }
}
