// Credentials: random 256-bit secrets of which only the SHA-256 is kept. Finding the record by hash and comparing the hash in constant
// time means that neither the store nor the time of a refusal tells anything about a secret.

import { createHash, timingSafeEqual } from 'node:crypto';
import { Failure, isFailure } from '../../lib/failure.ts';
import { newId, newToken } from '../../lib/id.ts';
import type { Token } from '../../model/documents.ts';
import { create, remove } from '../../store/records.ts';
import type { View } from '../../store/view.ts';
import type { ControlContext } from '../context.ts';
import type { Principal } from '../handler.ts';
import type { MachineCredential } from '../server-pipeline.ts';
import { PERMISSIONS_OF } from './permissions.ts';
import { tokenRecords } from './records.ts';

export type TokenPrincipal = Token['principal'];

export interface EnsureTokenInput {
  readonly principal: TokenPrincipal;
  /**
   * What is kept for it on disk; null where nothing is. Write the file first and ensure the token then: a kill between the two leaves a
   * file that the next start registers.
   */
  readonly secret: string | null;
  /** Whose it is, where several of such a principal stand beside each other: the id of a Node. */
  readonly holder?: string;
}

const SECRET_FORM = /^libra_(?:owner|node|edge)_[0-9a-f]{64}$/u;

/** Three parts with dots between: what none of the credentials has. How long it may be says whoever reads it. */
const INSTANCE_TOKEN = /^Bearer +([\w-]+\.[\w-]*\.[\w-]*)$/iu;

function hashOfSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** A fresh secret for such a principal; nothing is recorded. */
export function makeSecret(context: Pick<ControlContext, 'random'>, principal: TokenPrincipal): string {
  return newToken(`libra_${principal.kind}`, context.random);
}

function nameOf(principal: TokenPrincipal, holder?: string): string {
  if (principal.kind === 'owner') return holder === undefined ? 'owner' : `owner/${holder}`;
  return `${principal.kind}/${principal.nodeId}`;
}

/**
 * Makes sure that the principal has this very credential and, of those made by ensureToken, no other: an older one (its file is gone)
 * ends here. Returns the secret, the given one or a new one.
 */
export async function ensureToken(context: Pick<ControlContext, 'view' | 'clock' | 'random'>, input: EnsureTokenInput): Promise<string> {
  const { view } = context;
  const secret = input.secret?.trim() ?? makeSecret(context, input.principal);
  if (!SECRET_FORM.test(secret)) {
    throw new Failure('invalid_input', {
      message: `The kept credential of ${nameOf(input.principal)} is not one: it must be libra_${input.principal.kind}_ and 64 hex digits.`,
      hint: 'Delete the file; a new credential is made at the next start.',
    });
  }
  const hash = hashOfSecret(secret);
  const name = nameOf(input.principal, input.holder);
  const older = view.list(tokenRecords).filter(({ document }) => document.name === name && document.hash !== hash);
  const existing = view.byName(tokenRecords, hash);
  const now = context.clock.now();
  const token: Token = { id: newId(now, context.random), name, hash, principal: input.principal, createdAtMs: now };
  const operations = older.map((stored) => remove(tokenRecords, stored));
  if (existing === undefined) operations.push(create(tokenRecords, token));
  else if (nameOf(existing.document.principal) !== nameOf(input.principal)) {
    throw new Failure('conflict', { message: `The kept credential of ${name} belongs to ${existing.document.name}.` });
  }
  try {
    await view.commit(...operations);
  } catch (error) {
    // Another control was faster with the same credential.
    if (!isFailure(error, 'exists')) throw error;
  }
  return secret;
}

/** The owner's credential: `ensureToken` for the owner. Each control plane of several has its own. */
export async function ensureOwnerToken(
  context: Pick<ControlContext, 'view' | 'clock' | 'random'>,
  secret: string | null,
  holder?: string,
): Promise<string> {
  return await ensureToken(context, { principal: { kind: 'owner' }, secret, ...(holder === undefined ? {} : { holder }) });
}

function principalOf(token: Token): Principal {
  const { principal } = token;
  switch (principal.kind) {
    case 'owner':
      return { kind: 'owner', name: 'owner', permissions: PERMISSIONS_OF.owner };
    case 'node':
    case 'edge':
      return { kind: principal.kind, nodeId: principal.nodeId, name: token.name, permissions: PERMISSIONS_OF[principal.kind] };
  }
}

/**
 * The principal of an `authorization: Bearer …` header, be it a credential that is kept here or the token of an Instance, or of a machine's
 * certificate. The function throws `unauthenticated` for none, a malformed or an unknown one.
 */
export function createAuthenticate(
  view: Pick<View, 'byName'>,
  machine: (credential: MachineCredential) => Principal,
  instance: (token: string) => Principal,
): (header: string | undefined, machine?: MachineCredential) => Principal {
  return (header, credential) => {
    if (header === undefined && credential !== undefined) return machine(credential);
    if (header === undefined) {
      throw new Failure('unauthenticated', {
        message: 'This needs a credential, and none came with the request.',
        hint: 'Send `authorization: Bearer <token>`, or log in with: libra login',
      });
    }
    const token = INSTANCE_TOKEN.exec(header)?.[1];
    if (token !== undefined) return instance(token);
    const secret = /^Bearer +(\S{1,200})$/iu.exec(header)?.[1];
    const hash = secret === undefined ? null : hashOfSecret(secret);
    const stored = hash === null ? undefined : view.byName(tokenRecords, hash);
    if (hash === null || stored === undefined || !timingSafeEqual(Buffer.from(hash), Buffer.from(stored.document.hash))) {
      throw new Failure('unauthenticated', {
        message: 'The credential of the request is not valid.',
        hint: 'It may have been replaced: log in again with libra login, or read <data>/owner.token.',
      });
    }
    return principalOf(stored.document);
  };
}
