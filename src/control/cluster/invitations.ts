// Invitations: leave for one machine to join, once and within a time. What is told is a secret and the fingerprint of the machines'
// authority, so that a machine knows whom it gives the secret to. Only the hash of the secret is kept.

import { createHash, X509Certificate } from 'node:crypto';
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
}

export function hashOfToken(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

export function createInvitationHandlers(context: ControlContext, deps: InvitationDeps): Handlers {
  const { view, clock, random } = context;
  const fingerprint = createHash('sha256').update(new X509Certificate(deps.authorityPem).raw).digest('hex');

  const reply = (invitation: Invitation): Reply => ({
    id: invitation.id,
    name: invitation.nodeName,
    runtime: view.get(runtimeRecords, invitation.runtimeId)?.document.name ?? '',
    roles: [...invitation.roles],
    labels: { ...invitation.labels },
    createdAtMs: invitation.createdAtMs,
    expiresAtMs: invitation.expiresAtMs,
    usedBy:
      invitation.usedBy === null ? null : (view.get(nodeSpecRecords, invitation.usedBy.nodeId)?.document.name ?? invitation.usedBy.nodeId),
  });

  const dropOld = async (): Promise<void> => {
    const old = view.list(invitationRecords).filter(({ document }) => document.expiresAtMs + SHOWN_MS < clock.now());
    for (const stored of old.slice(0, 40)) await view.commit(remove(invitationRecords, stored));
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
      const url = deps.url();
      if (url === null) {
        throw new Failure('unsupported', {
          message: 'No other machine can reach this platform: its API is on loopback only.',
          hint: 'Start it with --api-tls-host and the address that the machines reach it at.',
        });
      }
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
      checkLabels(labels);
      const runtime = view.byName(runtimeRecords, call.body.runtime);
      if (runtime === undefined)
        throw new Failure('not_found', { message: `There is no Runtime ${call.body.runtime}.`, hint: '`libra runtimes` lists them.' });
      await dropOld();
      const nowMs = clock.now();
      if (view.list(invitationRecords).length >= MOST)
        throw new Failure('rate_limited', {
          message: `There are ${MOST} invitations already.`,
          hint: 'Take some back: libra nodes invitations',
        });
      const secret = newToken('libra_join', random);
      const invitation: Invitation = {
        id: newId(nowMs, random),
        hash: hashOfToken(secret),
        nodeName: name ?? null,
        runtimeId: runtime.document.id,
        roles: [...new Set(roles)].sort(),
        labels,
        createdAtMs: nowMs,
        expiresAtMs: nowMs + expiresInMs,
        usedBy: null,
      };
      await view.commit(create(invitationRecords, invitation));
      context.event({ level: 'info', kind: 'node.invited', message: `${call.principal.name} invited a machine to join.`, subject: {} });
      return { ...reply(invitation), token: `${secret}_${fingerprint}`, url };
    },
    delete: async (call) => {
      const stored = view.get(invitationRecords, call.params.invitation);
      if (stored === undefined) throw new Failure('not_found', { message: `There is no invitation ${call.params.invitation}.` });
      await view.commit(remove(invitationRecords, stored));
    },
  };
}
