// Invitations: leave for one machine to join, once and within a time. What is told is a secret and the fingerprint of the machines'
// authority, so that a machine knows whom it gives the secret to. Only the hash of the secret is kept.

import { createHash, X509Certificate } from 'node:crypto';
import type { ReplyOf } from '../../api/endpoint.ts';
import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { newId, newToken } from '../../lib/id.ts';
import type { Invitation } from '../../model/documents.ts';
import { isName } from '../../model/names.ts';
import { checkLabels } from '../../model/selector.ts';
import { create, remove } from '../../store/records.ts';
import type { ControlContext } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { pageOf } from '../server-page.ts';
import { invitationRecords, nodeSpecRecords, runtimeRecords } from './records.ts';

/** Those that are over are shown for so long. */
const SHOWN_MS = 7 * 86_400_000;
const MOST = 1000;

type Handlers = NounHandlers<typeof table.invitations>;
type Reply = Awaited<ReturnType<Handlers['list']>>['items'][number];

export interface InvitationDeps {
  readonly authorityPem: string;
  /** Where machines reach this control; null: nowhere. */
  readonly url: () => string | null;
  /** undefined: no other machine can be a control plane. */
  readonly gift: Gift | undefined;
}

/** What another machine needs to be a control plane of this platform. Throws `unsupported` where none can be. */
export type Gift = () => Promise<Omit<ReplyOf<(typeof table)['machines']['joinControl']>, 'name'>>;

/** What such a token is for can be seen, and one is never good for the other. */
export const CONTROL_TOKEN = 'libra_control';

export function requireGift(gift: Gift | undefined): Gift {
  if (gift !== undefined) return gift;
  throw new Failure('unsupported', { message: 'This platform has one control plane and cannot have others.' });
}

export function hashOfToken(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

export function createInvitationHandlers(context: ControlContext, deps: InvitationDeps): Handlers {
  const { view, clock, random } = context;
  const fingerprint = createHash('sha256').update(new X509Certificate(deps.authorityPem).raw).digest('hex');

  const nameOfUser = (nodeId: string | null): string =>
    nodeId === null ? 'a control plane' : (view.get(nodeSpecRecords, nodeId)?.document.name ?? nodeId);

  const reply = (invitation: Invitation): Reply => ({
    id: invitation.id,
    name: invitation.nodeName,
    runtime: view.get(runtimeRecords, invitation.runtimeId)?.document.name ?? '',
    roles: [...invitation.roles],
    labels: { ...invitation.labels },
    createdAtMs: invitation.createdAtMs,
    expiresAtMs: invitation.expiresAtMs,
    usedBy: invitation.usedBy === null ? null : nameOfUser(invitation.usedBy.nodeId),
  });

  const dropOld = async (): Promise<void> => {
    const old = view.list(invitationRecords).filter(({ document }) => document.expiresAtMs + SHOWN_MS < clock.now());
    for (const stored of old.slice(0, 40)) await view.commit(remove(invitationRecords, stored));
  };

  const requireUrl = (): string => {
    const url = deps.url();
    if (url !== null) return url;
    throw new Failure('unsupported', {
      message: 'No other machine can reach this platform: its API is on loopback only.',
      hint: 'Start it with --api-tls-host and the address that the machines reach it at.',
    });
  };

  const checkName = (name: string | undefined): void => {
    if (name !== undefined && !isName(name))
      throw new Failure('invalid_input', {
        message: `${JSON.stringify(name)} is not a valid name of a Node.`,
        hint: 'Lower-case letters, digits and -',
      });
    if (name !== undefined && view.byName(nodeSpecRecords, name) !== undefined)
      throw new Failure('exists', {
        message: `There is a Node ${name} already.`,
        hint: 'Choose another name, or remove that one first.',
      });
  };

  const invite = async (
    secret: string,
    about: Pick<Invitation, 'nodeName' | 'runtimeId' | 'roles' | 'labels'>,
    expiresInMs: number,
    by: string,
  ): Promise<Invitation> => {
    await dropOld();
    const nowMs = clock.now();
    if (view.list(invitationRecords).length >= MOST)
      throw new Failure('rate_limited', {
        message: `There are ${MOST} invitations already.`,
        hint: 'Take some back: libra nodes invitations',
      });
    const times = { createdAtMs: nowMs, expiresAtMs: nowMs + expiresInMs };
    const invitation: Invitation = { id: newId(nowMs, random), hash: hashOfToken(secret), ...about, ...times, usedBy: null };
    await view.commit(create(invitationRecords, invitation));
    const what = about.roles.includes('control') ? 'become a control plane' : 'join';
    context.event({ level: 'info', kind: 'node.invited', message: `${by} invited a machine to ${what}.`, subject: {} });
    return invitation;
  };

  return {
    list: async (call) => {
      const page = pageOf(
        view.list(invitationRecords).map(({ document }) => document),
        call.query,
        { list: 'invitations', keyOf: (invitation) => invitation.id, order: 'descending' },
      );
      return { items: page.items.map(reply), next: page.next };
    },
    create: async (call) => {
      const { name, roles, labels, expiresInMs } = call.body;
      const url = requireUrl();
      checkName(name);
      checkLabels(labels);
      const runtime = view.byName(runtimeRecords, call.body.runtime);
      if (runtime === undefined)
        throw new Failure('not_found', { message: `There is no Runtime ${call.body.runtime}.`, hint: '`libra runtimes` lists them.' });
      const token = newToken('libra_join', random);
      const about = { nodeName: name ?? null, runtimeId: runtime.document.id, roles: [...new Set(roles)].sort(), labels };
      return { ...reply(await invite(token, about, expiresInMs, call.principal.name)), token: `${token}_${fingerprint}`, url };
    },
    createControl: async (call) => {
      const { name, expiresInMs } = call.body;
      const url = requireUrl();
      checkName(name);
      // Refused now, and not when the machine comes.
      await requireGift(deps.gift)();
      const token = newToken(CONTROL_TOKEN, random);
      const about = { nodeName: name ?? null, runtimeId: '', roles: ['control' as const], labels: {} };
      return { ...reply(await invite(token, about, expiresInMs, call.principal.name)), token: `${token}_${fingerprint}`, url };
    },
    delete: async (call) => {
      const stored = view.get(invitationRecords, call.params.invitation);
      if (stored === undefined) throw new Failure('not_found', { message: `There is no invitation ${call.params.invitation}.` });
      await view.commit(remove(invitationRecords, stored));
    },
  };
}
