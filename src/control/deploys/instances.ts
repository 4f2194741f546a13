// Instances as people see and touch them: list, one-off runs, stop. What only an agent can answer is the
// cluster module's.

import type { InstanceUsage } from '../../api/agent.ts';
import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { idsFrom, newId } from '../../lib/id.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import type { View } from '../../store/view.ts';
import { create, guard, update } from '../../store/records.ts';
import { powerRefusedIn } from '../auth/grants.ts';
import { releaseRecords } from '../apps/records.ts';
import { findInstance } from '../cluster/find-instance.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { findEnvironment } from '../lookup.ts';
import { schedule } from '../scheduler/schedule.ts';
import { volumeNodeOf } from './capacity.ts';
import { placedAt } from './placed.ts';
import { hasEnded, requestOf } from './placement.ts';
import { place } from './placing.ts';
import { roomsOf } from './rooms.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from './records.ts';
import { instanceReply } from './replies.ts';
import type { InstanceReply } from './replies.ts';
import { isServing } from './rollout-draft.ts';

export interface InstanceDeps {
  readonly leftOut: (instanceId: string) => boolean;
  readonly usageOf: (spec: InstanceSpec) => InstanceUsage | null;
  /** What only an agent can answer. */
  readonly instanceStreams: Pick<NounHandlers<typeof table.instances>, 'logs' | 'exec' | 'files' | 'stats'>;
}

export function createInstanceHandlers(context: ControlContext, deps: InstanceDeps): NounHandlers<typeof table.instances> {
  const { view, clock } = context;
  const reply = (spec: InstanceSpec): InstanceReply =>
    instanceReply(view, spec, { leftOut: deps.leftOut(spec.id), usage: deps.usageOf(spec) });

  const find = (params: { readonly app: string; readonly environment: string; readonly instance: string }): InstanceSpec => {
    const { app, environment } = findEnvironment(view, params.app, params.environment);
    return findInstance(view, app.document, environment.document, params.instance);
  };

  return {
    list: async (call) => {
      const { environment } = findEnvironment(view, call.params.app, call.params.environment);
      const specs = view.by(instanceSpecRecords, 'environment', environment.document.id).map(({ document }) => document);
      const shown = call.query.all ? specs : specs.filter((spec) => !hasEnded(view, spec.id));
      return { items: shown.toSorted(byPlace).map(reply) };
    },
    get: async (call) => reply(find(call.params)),
    run: async (call) => {
      const made = call.recordId === undefined ? undefined : view.get(instanceSpecRecords, call.recordId);
      const { count } = call.body;
      const ids = idsFrom(call.recordId ?? newId(clock.now(), context.random), count);
      if (made !== undefined) return { items: ids.flatMap((id) => view.get(instanceSpecRecords, id)?.document ?? []).map(reply) };
      const { environment: stored } = findEnvironment(view, call.params.app, call.params.environment);
      const environment = stored.document;
      const stableId = environment.stableDeploymentId;
      const deployment = stableId === null ? undefined : view.get(deploymentRecords, stableId)?.document;
      const release = deployment === undefined ? undefined : view.get(releaseRecords, deployment.releaseId)?.document;
      const name = `${call.params.app}/${environment.name}`;
      if (deployment === undefined || release === undefined) {
        throw new Failure('plan_refused', {
          message: `Nothing has been deployed to ${name} with success yet.`,
          hint: 'Deploy first: libra deploy',
        });
      }
      if (environment.stopped || environment.state === 'deleting') {
        throw new Failure('plan_refused', {
          message: `${name} is ${environment.stopped ? 'stopped' : 'being deleted'}; nothing runs in it.`,
        });
      }
      const names = Object.keys(deployment.entrypoints);
      const chosen = call.body.entrypoint ?? (names.includes('web') ? 'web' : names[0]);
      const entrypoint = chosen === undefined ? undefined : deployment.entrypoints[chosen];
      if (entrypoint === undefined) {
        throw new Failure('not_found', { message: `${name} has no Entrypoint ${chosen ?? ''}.`, hint: `It has: ${names.join(', ')}.` });
      }
      const command = call.body.command ?? entrypoint.command;
      if (command.length === 0) {
        throw new Failure('plan_refused', {
          message: `${entrypoint.name} runs the command of its image; name one to run.`,
          hint: 'libra run -- <command>',
        });
      }
      const refused = powerRefusedIn(view, environment, entrypoint);
      if (refused !== undefined) throw new Failure('plan_refused', refused);
      if (count > 1 && entrypoint.volumes.length > 0) {
        throw new Failure('plan_refused', {
          message: `${entrypoint.name} has a volume, which one run at a time may use.`,
          hint: 'Leave out --count, or name an Entrypoint without a volume: --entrypoint',
        });
      }
      const requests = ids.map((id) =>
        requestOf(entrypoint, release.manifest.build, {
          key: id,
          deploymentId: deployment.id,
          environmentId: environment.id,
          stickyNodeId: volumeNodeOf(view, environment, entrypoint, 0),
          oneOff: true,
        }),
      );
      const { placed } = await place(context, () => {
        const plan = schedule(roomsOf(view, environment.runtimeId), requests);
        const [unplaced] = plan.unplaced;
        if (unplaced !== undefined) {
          throw new Failure(unplaced.code === 'unsupported' ? 'plan_refused' : 'no_capacity', {
            message: count === 1 ? unplaced.message : `${plan.placed.size} of ${count} find a Node. Of the others: ${unplaced.message}`,
            hint: unplaced.hint,
          });
        }
        const nowMs = clock.now();
        const specs = [...plan.placed].map(([id, found], slot): InstanceSpec => ({
          id,
          appId: environment.appId,
          environmentId: environment.id,
          deploymentId: deployment.id,
          releaseId: release.id,
          entrypoint: entrypoint.name,
          role: 'run',
          slot,
          ...placedAt(found),
          generation: 1,
          desired: 'run',
          draining: false,
          drainingSinceMs: null,
          commands: [command],
          tickMs: null,
          createdAtMs: nowMs,
        }));
        return {
          placed: specs,
          operations: [...specs.map((spec) => create(instanceSpecRecords, spec)), guard(environmentRecords, stored)],
        };
      });
      return { items: placed.map(reply) };
    },
    stop: async (call) => {
      const stored = view.get(instanceSpecRecords, find(call.params).id);
      if (stored === undefined) throw new Failure('not_found', { message: `The Instance ${call.params.instance} is gone.` });
      const spec = stored.document;
      if (hasEnded(view, spec.id)) throw new Failure('conflict', { message: `The Instance ${spec.id} has ended already.` });
      if (spec.desired === 'stop' || spec.draining) return reply(spec);
      const status = view.get(instanceStatusRecords, spec.id)?.document ?? null;
      // One that serves finishes its requests first; the rollout stops it then, and fills its slot.
      const drains = spec.role === 'service' && isServing({ spec, status }) && listens(view, spec);
      const next: InstanceSpec = {
        ...spec,
        generation: spec.generation + 1,
        ...(drains ? { draining: true, drainingSinceMs: clock.now() } : { desired: 'stop' as const }),
      };
      await view.commit(update(instanceSpecRecords, stored, next));
      return reply(next);
    },
    ...deps.instanceStreams,
  };
}

function listens(view: View, spec: InstanceSpec): boolean {
  const deployment = spec.deploymentId === null ? undefined : view.get(deploymentRecords, spec.deploymentId)?.document;
  return deployment?.entrypoints[spec.entrypoint]?.listens === true;
}

function byPlace(a: InstanceSpec, b: InstanceSpec): number {
  if (a.entrypoint !== b.entrypoint) return a.entrypoint < b.entrypoint ? -1 : 1;
  return a.slot - b.slot || (a.id < b.id ? -1 : 1);
}
