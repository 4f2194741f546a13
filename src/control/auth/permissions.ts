// What each kind of principal may do. The owner may do everything that a person can; the sync contracts belong to Nodes and Edges alone,
// so that no person's credential ever reads plain secret values of an Instance.

import { PERMISSIONS } from '../../api/endpoint.ts';
import type { Permission } from '../../api/endpoint.ts';
import type { Principal } from '../handler.ts';

export type PrincipalKind = Principal['kind'];

const MACHINE_ONLY: ReadonlySet<Permission> = new Set<Permission>(['agent.sync', 'edge.sync', 'machine.renew']);

export const PERMISSIONS_OF: Readonly<Record<PrincipalKind, ReadonlySet<Permission>>> = {
  owner: new Set(PERMISSIONS.filter((permission) => !MACHINE_ONLY.has(permission))),
  // A Node fetches bundles and hands in what its builds made.
  node: new Set<Permission>(['public', 'agent.sync', 'machine.renew', 'blobs.read', 'blobs.write']),
  edge: new Set<Permission>(['public', 'edge.sync', 'machine.renew']),
  anonymous: new Set<Permission>(['public']),
};
