// Records of Runtimes, Nodes and what agents report.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { InstanceStatus, Invitation, NodeSpec, NodeStatus, Runtime } from '../../model/documents.ts';

export const runtimeRecords: Collection<Runtime> = defineCollection<Runtime>({ name: 'runtimes', uniqueName: (runtime) => runtime.name });
export const nodeSpecRecords: Collection<NodeSpec> = defineCollection<NodeSpec>({
  name: 'node-specs',
  uniqueName: (node) => node.name,
  indexes: { runtime: (node) => node.runtimeId },
});
export const invitationRecords: Collection<Invitation> = defineCollection<Invitation>({
  name: 'invitations',
  uniqueName: (invitation) => invitation.hash,
});
export const nodeStatusRecords: Collection<NodeStatus> = defineCollection<NodeStatus>({ name: 'node-statuses' });
export const instanceStatusRecords: Collection<InstanceStatus> = defineCollection<InstanceStatus>({
  name: 'instance-statuses',
  indexes: { node: (status) => status.nodeId },
});
