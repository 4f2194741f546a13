// Machines that joined: who they are is what their certificate says and what the store says of its key. A Node that was removed, or a key
// that was replaced twice, is nobody, whatever the certificate's end.

import { createPublicKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Permission } from '../../api/endpoint.ts';
import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { Invitation, MachineRole, NodeSpec } from '../../model/documents.ts';
import { toName } from '../../model/names.ts';
import type { Stored } from '../../store/collection.ts';
import { create, update } from '../../store/records.ts';
import { keyIdOf, machineIdOf, machineName } from '../../tunnel/identity.ts';
import type { MachineIdentity } from '../../tunnel/identity.ts';
import { PERMISSIONS_OF } from '../auth/permissions.ts';
import { makePair, openAuthority } from '../certificates/authority.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import type { MachineClaim, NounHandlers, Principal } from '../handler.ts';
import { controlPlaneRecords } from '../leadership/records.ts';
import type { MachineCredential } from '../server-pipeline.ts';
import { freeNodeName } from './bootstrap.ts';
import { CONTROL_TOKEN, createInvitationHandlers, hashOfToken, requireGift } from './invitations.ts';
import type { Gift } from './invitations.ts';
import { invitationRecords, nodeSpecRecords } from './records.ts';

const DAY_MS = 86_400_000;
/** A machine renews at half of it; one that was off for longer is invited anew. */
const CERTIFICATE_DAYS = 30;
/** The key in use, and the one before, whose connections may still be open. */
const KEYS_KEPT = 2;
const NAME_ATTEMPTS = 100;

export interface Machines {
  readonly handlers: {
    readonly machines: NounHandlers<typeof table.machines>;
    readonly invitations: NounHandlers<typeof table.invitations>;
  };
  /** What a certificate says, which TLS has checked. */
  readonly claimOf: (certificate: X509Certificate) => MachineClaim;
  /** Who comes with such a credential. Throws `unauthenticated`. */
  readonly authenticate: (credential: MachineCredential) => Principal;
  /** Who meets another machine of the platform knows it by this. */
  readonly authorityPem: string;
  /** A fresh one for a machine of the control plane. @param names all that stands in its certificate */
  ownIdentity(nodeId: string, names: readonly string[]): { readonly identity: MachineIdentity; readonly untilMs: number };
}

export async function createMachines(
  context: ControlContext,
  deps: { readonly sealer: Sealer; readonly url: () => string | null; readonly gift?: Gift | undefined },
): Promise<Machines> {
  const { view, clock, random } = context;
  const authority = await openAuthority(context, deps.sealer, { id: 'machines', title: 'Libra machines' });
  const known = new WeakMap<X509Certificate, MachineClaim>();

  const claimOf = (certificate: X509Certificate): MachineClaim => {
    const claim = known.get(certificate) ?? { nodeId: machineIdOf(certificate, 'node'), key: keyIdOf(certificate.publicKey) };
    known.set(certificate, claim);
    return claim;
  };

  const certify = (nodeId: string, publicKey: KeyObject, names: readonly string[], untilMs: number): string =>
    authority.sign({ commonName: nodeId, publicKey, use: { kind: 'machine', names }, untilMs });

  const replyFor = (node: NodeSpec, publicKey: KeyObject): Awaited<ReturnType<Machines['handlers']['machines']['join']>> => {
    const roles = node.machine?.roles ?? [];
    const names = [machineName(node.id, 'node'), ...(roles.includes('edge') ? [machineName(node.id, 'edge')] : [])];
    return {
      nodeId: node.id,
      name: node.name,
      roles: [...roles],
      certificatePem: certify(node.id, publicKey, names, clock.now() + CERTIFICATE_DAYS * DAY_MS),
      authorityPem: authority.certificatePem,
    };
  };

  const findInvitation = (token: string, kind: 'libra_join' | typeof CONTROL_TOKEN, key: string): Stored<Invitation> => {
    const secret = /^((libra_join|libra_control)_[0-9a-f]{64})(?:_[0-9a-f]{64})?$/u.exec(token);
    const stored = secret?.[1] === undefined || secret[2] !== kind ? undefined : view.byName(invitationRecords, hashOfToken(secret[1]));
    if (stored === undefined) throw refusal('This is no invitation of this platform, or it was taken back.');
    const { usedBy, expiresAtMs } = stored.document;
    if (usedBy !== null && usedBy.key !== key) throw refusal('This invitation was used by another machine already.');
    if (expiresAtMs <= clock.now()) throw refusal('This invitation is over.');
    return stored;
  };

  const join = async (invitation: Stored<Invitation>, key: string, hostname: string): Promise<NodeSpec> => {
    const { usedBy, nodeName, runtimeId, labels } = invitation.document;
    const roles = invitation.document.roles.filter((role) => role !== 'control');
    if (usedBy !== null) {
      const before = usedBy.nodeId === null ? undefined : view.get(nodeSpecRecords, usedBy.nodeId);
      if (before === undefined) throw refusal('The Node that came with this invitation was removed.');
      return before.document;
    }
    const base = nodeName ?? toName(hostname.split('.')[0] ?? '') ?? 'node';
    for (let attempt = 1; ; attempt += 1) {
      const node: NodeSpec = {
        id: newId(clock.now(), random),
        name: freeNodeName(base, attempt),
        runtimeId,
        labels,
        scheduling: 'open',
        machine: { roles, keys: [key] },
        createdAtMs: clock.now(),
      };
      const used: Invitation = { ...invitation.document, usedBy: { nodeId: node.id, key } };
      try {
        await view.commit(create(nodeSpecRecords, node), update(invitationRecords, invitation, used));
        context.event({ level: 'info', kind: 'node.joined', message: `Node ${node.name} joined.`, subject: { nodeId: node.id } });
        return node;
      } catch (error) {
        if (!isFailure(error, 'exists') || attempt >= NAME_ATTEMPTS) throw error;
      }
    }
  };

  return {
    handlers: {
      invitations: createInvitationHandlers(context, { authorityPem: authority.certificatePem, url: deps.url, gift: deps.gift }),
      machines: {
        join: async (call) => {
          const publicKey = parsePublicKey(call.body.publicKeyPem);
          const key = keyIdOf(publicKey);
          const node = await join(findInvitation(call.body.token, 'libra_join', key), key, call.body.hostname);
          return replyFor(node, publicKey);
        },
        joinControl: async (call) => {
          const key = keyIdOf(parsePublicKey(call.body.publicKeyPem));
          const invitation = findInvitation(call.body.token, CONTROL_TOKEN, key);
          const gift = await requireGift(deps.gift)();
          const { usedBy, nodeName } = invitation.document;
          if (usedBy === null) {
            await view.commit(update(invitationRecords, invitation, { ...invitation.document, usedBy: { nodeId: null, key } }));
            context.event({
              level: 'warning',
              kind: 'control.joined',
              message: `The machine ${call.body.hostname.slice(0, 100)} was given the master key and the way to the store, to be a control plane.`,
              subject: {},
            });
          }
          return { ...gift, name: nodeName };
        },
        authority: async () => ({ certificate: authority.certificatePem }),
        controls: async () => {
          const own = deps.url();
          const others = view
            .list(controlPlaneRecords)
            .flatMap(({ document: { url } }) => (url?.startsWith('https:') === true ? [url] : []));
          return { urls: [...new Set([...(own === null ? [] : [own]), ...others.sort()])] };
        },
        renew: async (call) => {
          const { principal } = call;
          const stored = 'nodeId' in principal ? view.get(nodeSpecRecords, principal.nodeId) : undefined;
          if (stored?.document.machine === undefined)
            throw new Failure('unsupported', { message: 'Only a machine that joined has a certificate to renew.' });
          const publicKey = parsePublicKey(call.body.publicKeyPem);
          const { machine } = stored.document;
          const keys = [...new Set([keyIdOf(publicKey), ...machine.keys])].slice(0, KEYS_KEPT);
          const next = { ...stored.document, machine: { ...machine, keys } };
          await view.commit(update(nodeSpecRecords, stored, next));
          return replyFor(next, publicKey);
        },
      },
    },
    claimOf,
    authenticate: ({ shown, permission }) => {
      const { nodeId, key } = shown instanceof X509Certificate ? claimOf(shown) : shown;
      const node = nodeId === null ? undefined : view.get(nodeSpecRecords, nodeId)?.document;
      if (node?.machine === undefined)
        throw new Failure('unauthenticated', {
          message: 'This machine is no Node of the platform: it was removed, or never joined.',
          hint: 'Invite it anew: libra nodes invite',
          details: { removed: true },
        });
      if (!node.machine.keys.includes(key))
        throw new Failure('unauthenticated', {
          message: `The key that Node ${node.name} comes with was replaced by a newer one.`,
          hint: 'Was its data folder put back from an old copy? Let the machine join anew: libra nodes invite, on the platform, and libra join, there.',
        });
      return principalOf(node, node.machine.roles, permission);
    },
    authorityPem: authority.certificatePem,
    ownIdentity: (nodeId, names) => {
      const { publicKey, keyPem } = makePair();
      const untilMs = clock.now() + CERTIFICATE_DAYS * DAY_MS;
      const certificatePem = certify(nodeId, publicKey, names, untilMs);
      return { identity: { nodeId, authorityPem: authority.certificatePem, certificatePem, keyPem }, untilMs };
    },
  };
}

/** One machine is both to control, its agent and its Edge: it comes as the one that may do what it asks for. */
function principalOf(node: NodeSpec, roles: readonly MachineRole[], permission: Permission): Principal {
  const asEdge = roles.includes('edge') && (permission === 'dataplane.sync' || !roles.includes('agent'));
  const kind = asEdge ? 'edge' : 'node';
  return { kind, nodeId: node.id, name: `${kind}/${node.name}`, permissions: PERMISSIONS_OF[kind] };
}

function parsePublicKey(pem: string): KeyObject {
  try {
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1' && !pem.includes('PRIVATE')) return key;
  } catch {
    // Said below.
  }
  throw new Failure('invalid_input', { message: 'The public key of the machine is not a P-256 key in SPKI PEM.' });
}

function refusal(message: string): Failure {
  return new Failure('forbidden', { message, hint: 'Ask for a new one: libra nodes invite' });
}
