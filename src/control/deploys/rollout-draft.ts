// The working copy of one rollout pass: reads see what the pass has already decided, so that a Plan is whole and planning again right
// after its commit finds nothing to do.

import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { DeploymentStatus, Environment, InstanceSpec } from '../../model/documents.ts';
import type { EventInput } from '../context.ts';
import type { Unplaced } from '../scheduler/snapshot.ts';
import type { RolloutDeployment, RolloutInput, RolloutInstance, RolloutPlan } from './rollout-input.ts';

export interface Draft {
  readonly input: RolloutInput;
  environment(): Environment;
  setEnvironment(change: Partial<Pick<Environment, 'stableDeploymentId' | 'candidateDeploymentId' | 'split' | 'standby'>>): void;
  /** undefined where the record is gone. */
  deployment(id: string | null): RolloutDeployment | undefined;
  deployments(): readonly RolloutDeployment[];
  setStatus(next: DeploymentStatus): void;
  /** All, with this pass's changes. */
  instances(): readonly RolloutInstance[];
  /** How many more Instances the pass may create. */
  createsLeft(): number;
  /** False when the pass has used up its changes. */
  create(spec: InstanceSpec): boolean;
  /** False when the pass has used up its changes. */
  change(
    instance: RolloutInstance,
    change: Partial<Pick<InstanceSpec, 'desired' | 'draining' | 'drainingSinceMs' | 'deploymentId'>>,
  ): boolean;
  event(event: Pick<EventInput, 'level' | 'kind' | 'message' | 'runbook'> & { readonly deploymentId?: string }): void;
  noteUnplaced(entrypoint: string, slot: number, why: Unplaced): void;
  /** Look again in so many milliseconds at the latest. */
  wakeIn(ms: number): void;
  plan(): RolloutPlan;
}

export function createDraft(input: RolloutInput): Draft {
  const instances = new Map(input.instances.map((instance) => [instance.spec.id, instance]));
  const deployments = new Map(input.deployments);
  const creates = new Map<string, InstanceSpec>();
  const changes = new Map<string, InstanceSpec>();
  const statuses = new Map<string, DeploymentStatus>();
  const events: EventInput[] = [];
  const unplaced = new Map<string, Unplaced>();
  let environment = input.environment;
  let wakeInMs: number | null = null;
  let listed: readonly RolloutInstance[] | null = null;

  const wakeIn = (ms: number): void => {
    wakeInMs = Math.max(0, Math.min(wakeInMs ?? ms, ms));
  };
  const hasRoom = (isThere: boolean, least: number): boolean => {
    if (isThere || least > 0) return true;
    wakeIn(0);
    return false;
  };

  return {
    input,
    environment: () => environment,
    setEnvironment: (change) => {
      environment = { ...environment, ...change, generation: input.environment.generation + 1 };
    },
    deployment: (id) => (id === null ? undefined : deployments.get(id)),
    deployments: () => [...deployments.values()],
    setStatus: (next) => {
      const current = deployments.get(next.id);
      if (current === undefined || current.status === next) return;
      const stamped = { ...next, updatedAtMs: input.nowMs };
      deployments.set(next.id, { ...current, status: stamped });
      statuses.set(next.id, stamped);
    },
    instances: () => (listed ??= [...instances.values()]),
    createsLeft: () => input.maxCreates - creates.size,
    create: (spec) => {
      if (!hasRoom(creates.has(spec.id), input.maxCreates - creates.size)) return false;
      creates.set(spec.id, spec);
      instances.set(spec.id, { spec, status: null });
      listed = null;
      return true;
    },
    change: (instance, change) => {
      if (!hasRoom(changes.has(instance.spec.id), input.maxChanges - changes.size)) return false;
      const next: InstanceSpec = { ...instance.spec, ...change, generation: instance.spec.generation + 1 };
      changes.set(next.id, next);
      instances.set(next.id, { spec: next, status: instance.status });
      listed = null;
      return true;
    },
    event: ({ deploymentId, ...event }) => {
      const subject = { appId: environment.appId, environmentId: environment.id };
      events.push({ ...event, subject: deploymentId === undefined ? subject : { ...subject, deploymentId } });
    },
    noteUnplaced: (entrypoint, slot, why) => {
      unplaced.set(`${entrypoint}/${slot}`, why);
    },
    wakeIn,
    plan: () => ({
      creates: [...creates.values()],
      changes: [...changes.values()],
      statuses: [...statuses.values()],
      environment: environment === input.environment ? null : environment,
      events,
      unplaced,
      wakeInMs,
    }),
  };
}

/** Whether nothing of it runs any more, nor ever will. */
export function hasEnded(instance: RolloutInstance): boolean {
  return instance.status !== null && FINAL_INSTANCE_PHASES.has(instance.status.phase);
}

/** Whether it can answer, and is meant to. */
export function isServing(instance: RolloutInstance): boolean {
  const { spec, status } = instance;
  return spec.desired === 'run' && !spec.draining && status !== null && status.healthy && status.phase === 'running';
}
