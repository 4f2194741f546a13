// Which Environments something happened to since the last look. Only a saving of work: a full pass finds whatever this misses.

import type { NodeSpec, NodeStatus } from '../../model/documents.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords, instanceSpecRecords } from './records.ts';

export interface ChangedEnvironments {
  /** Their ids since the last call. */
  take(): Set<string>;
}

export function createChangedEnvironments(context: ControlContext): ChangedEnvironments {
  const { view } = context;
  let changed = new Set<string>();
  const scheduling = new Map<string, NodeSpec['scheduling']>();
  const states = new Map<string, NodeStatus['state']>();

  const touch = (id: string | null | undefined): void => {
    if (id !== null && id !== undefined) changed.add(id);
  };
  const touchNode = (nodeId: string): void => {
    for (const { document } of view.by(instanceSpecRecords, 'node', nodeId)) touch(document.environmentId);
  };

  view.onChange((changes) => {
    const each = (collection: { readonly name: string }, visit: (id: string) => void): void => {
      for (const id of changes.get(collection.name) ?? []) visit(id);
    };
    each(environmentRecords, touch);
    each(deploymentStatusRecords, (id) => touch(view.get(deploymentStatusRecords, id)?.document.environmentId));
    each(instanceSpecRecords, (id) => touch(view.get(instanceSpecRecords, id)?.document.environmentId));
    each(instanceStatusRecords, (id) => touch(view.get(instanceSpecRecords, id)?.document.environmentId));
    each(releaseRecords, (id) => {
      for (const { document } of view.by(deploymentRecords, 'release', id)) touch(document.environmentId);
    });
    each(appRecords, (id) => {
      for (const { document } of view.by(environmentRecords, 'app', id)) touch(document.id);
    });
    // Heartbeats and placements change these records all the time; only what matters to Instances counts.
    each(nodeSpecRecords, (id) => {
      const now = view.get(nodeSpecRecords, id)?.document.scheduling;
      if (scheduling.get(id) === now) return;
      if (now === undefined) scheduling.delete(id);
      else scheduling.set(id, now);
      touchNode(id);
    });
    each(nodeStatusRecords, (id) => {
      const now = view.get(nodeStatusRecords, id)?.document.state;
      if (states.get(id) === now) return;
      if (now === undefined) states.delete(id);
      else states.set(id, now);
      touchNode(id);
    });
  });

  return {
    take: () => {
      const taken = changed;
      changed = new Set();
      return taken;
    },
  };
}
