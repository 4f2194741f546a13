// Instances as callers: who they are says their token, which their Node has signed, and whether they still are says the view. An Instance
// that shall not run any more, or that is gone, is nobody from then on, however long its token would be good.

import { Failure } from '../../lib/failure.ts';
import type { Permission } from '../../api/endpoint.ts';
import type { Clock } from '../../lib/clock.ts';
import type { View } from '../../store/view.ts';
import { createTokenVerifier } from '../../tunnel/instance-token.ts';
import type { Verified } from '../../tunnel/instance-token.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { nodeSpecRecords } from '../cluster/records.ts';
import { hasEnded } from '../deploys/placement.ts';
import { environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { DevSession } from '../../model/documents.ts';
import { sessionRecords } from '../dev/records.ts';
import type { Principal } from '../handler.ts';
import { LIBRAD_SERVICES } from './permissions.ts';

export interface InstanceAuthDeps {
  readonly view: View;
  readonly clock: Clock;
  /** Of machines. */
  readonly authorityPem: string;
}

/** The function throws `unauthenticated` for a token that does not count, and says why. */
export function createInstanceAuth({ view, clock, authorityPem }: InstanceAuthDeps): (token: string) => Principal {
  const verifier = createTokenVerifier({ authorityPem: () => authorityPem, clock });
  return (token) => {
    const verified = verifier.verify(token);
    if (!verified.ok) throw refusal(`The token of an Instance is not accepted: ${verified.why}.`);
    checkNode(view, verified);
    return principalOf(view, verified, clock.now());
  };
}

type Accepted = Extract<Verified, { ok: true }>;

/** A Node that was removed, or whose key was replaced twice, says nothing that counts. */
function checkNode(view: View, { nodeId, key }: Accepted): void {
  const node = view.get(nodeSpecRecords, nodeId)?.document;
  if (node === undefined) throw refusal('The Node that signed this token is none of the platform any more.');
  if (node.machine !== undefined && !node.machine.keys.includes(key))
    throw refusal(`Node ${node.name} signed this token with a key that was replaced.`);
}

function principalOf(view: View, { claims, nodeId }: Accepted, nowMs: number): Principal {
  const { instanceId } = claims;
  const session = view.get(sessionRecords, instanceId)?.document;
  if (session !== undefined) return sessionPrincipal(view, session, nodeId, nowMs);
  const spec = view.get(instanceSpecRecords, instanceId)?.document;
  if (spec === undefined) throw refusal(`Instance ${instanceId} is gone.`);
  if (spec.nodeId !== nodeId) throw refusal(`Instance ${instanceId} runs on another Node than the one that signed this token.`);
  if (hasEnded(view, instanceId)) throw refusal(`Instance ${instanceId} has ended.`);
  const environment = spec.environmentId === null ? undefined : view.get(environmentRecords, spec.environmentId)?.document;
  const app = view.get(appRecords, spec.appId)?.document;
  if (environment === undefined || app === undefined) throw refusal(`Instance ${instanceId} belongs to no Environment.`);
  const uses: readonly string[] = view.get(releaseRecords, spec.releaseId)?.document.manifest.uses ?? [];
  return {
    kind: 'instance',
    name: `instance/${app.name}/${environment.name}/${spec.entrypoint}/${instanceId}`,
    instanceId,
    environmentId: environment.id,
    appId: app.id,
    entrypoint: spec.entrypoint,
    nodeId,
    permissions: permissionsOf(uses),
  };
}

const permissionsOf = (uses: readonly string[]): ReadonlySet<Permission> =>
  new Set<Permission>([...LIBRAD_SERVICES].filter((service) => uses.includes(service)));

/** A program on a developer's laptop, for which the Node speaks that the laptop is connected to. */
function sessionPrincipal(view: View, session: DevSession, nodeId: string, nowMs: number): Principal {
  const { id, entrypoint, attached, expiresAtMs, uses = [] } = session;
  if (expiresAtMs <= nowMs) throw refusal(`The time of session ${id} is over.`);
  if (attached?.nodeId !== nodeId) throw refusal(`The laptop of session ${id} is not connected to the Node that signed this token.`);
  const environment = view.get(environmentRecords, session.environmentId)?.document;
  const app = view.get(appRecords, session.appId)?.document;
  if (environment === undefined || app === undefined) throw refusal(`Session ${id} belongs to no Environment.`);
  return {
    kind: 'instance',
    name: `session/${app.name}/${environment.name}/${entrypoint}/${session.key}`,
    instanceId: id,
    environmentId: environment.id,
    appId: app.id,
    entrypoint,
    nodeId,
    permissions: permissionsOf(uses),
  };
}

function refusal(message: string): Failure {
  return new Failure('unauthenticated', {
    message,
    hint: 'An Instance reads its token from the file that LIBRA_IDENTITY_FILE names, anew for each call: it is replaced every few minutes.',
  });
}
