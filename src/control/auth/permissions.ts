// What each kind of principal may do. The owner may do everything that a person can; the sync contracts belong to Nodes and Edges alone,
// so that no person's credential ever reads plain secret values of an Instance. Services for Apps are of Instances alone, as they have no
// meaning without an Environment that calls.

import { PERMISSIONS } from '../../api/endpoint.ts';
import type { Permission } from '../../api/endpoint.ts';
import type { Principal } from '../handler.ts';

export type PrincipalKind = Principal['kind'];

const MACHINE_ONLY: ReadonlySet<Permission> = new Set<Permission>(['agent.sync', 'dataplane.sync', 'machine.renew']);

/** Services that Librad itself provides. The permission is called as the Service is. */
export const LIBRAD_SERVICES: ReadonlySet<Permission> = new Set(PERMISSIONS.filter((permission) => permission.startsWith('librad.')));

export const PERMISSIONS_OF: Readonly<Record<PrincipalKind, ReadonlySet<Permission>>> = {
  owner: new Set(PERMISSIONS.filter((permission) => !MACHINE_ONLY.has(permission) && !LIBRAD_SERVICES.has(permission))),
  // A Node fetches bundles and hands in what its builds made.
  node: new Set<Permission>(['public', 'agent.sync', 'dataplane.sync', 'machine.renew', 'blobs.read', 'blobs.write']),
  edge: new Set<Permission>(['public', 'dataplane.sync', 'machine.renew']),
  // At most: one has those that its App says to use.
  instance: new Set<Permission>(['public', ...LIBRAD_SERVICES]),
  anonymous: new Set<Permission>(['public']),
};
