// The documents as the API shows them: names and numbers instead of ids.

import type { InstanceUsage } from '../../api/agent.ts';
import type { ReplyOf } from '../../api/endpoint.ts';
import type { ApiTable } from '../../api/table.ts';
import { formatRule, formatSticky } from '../../model/canary.ts';
import type { App, Deployment, DeploymentStatus, Environment, InstanceSpec, Reason } from '../../model/documents.ts';
import { figuresOf } from '../../model/version-counts.ts';
import type { View } from '../../store/view.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords, nodeSpecRecords, runtimeRecords } from '../cluster/records.ts';
import { environmentState, partOf } from './environment-state.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords } from './records.ts';
import type { Traffic } from './rollout-input.ts';
import { nextTickMs } from './ticks.ts';

export type DeploymentReply = ReplyOf<ApiTable['deployments']['get']>;
export type EnvironmentReply = ReplyOf<ApiTable['environments']['get']>;
export type InstanceReply = ReplyOf<ApiTable['instances']['get']>;

export interface ReplyDeps {
  readonly view: View;
  /** Where people reach the Environment; null: nowhere. */
  readonly urlOf: (app: App, environment: Environment) => string | null;
}

export interface DeploymentReplyDeps extends ReplyDeps {
  /** What the Edges have counted of two versions side by side. */
  readonly trafficState: () => Pick<Traffic, 'compare'>;
}

export function reasonReply(reason: Reason | null): DeploymentReply['reason'] {
  return reason === null ? null : { ...reason, lastLines: [...reason.lastLines] };
}

export function deploymentReply(deps: DeploymentReplyDeps, deployment: Deployment): DeploymentReply {
  const { view, urlOf } = deps;
  const app = view.get(appRecords, deployment.appId)?.document;
  const environment = view.get(environmentRecords, deployment.environmentId)?.document;
  const release = view.get(releaseRecords, deployment.releaseId)?.document;
  const status = view.get(deploymentStatusRecords, deployment.id)?.document;
  const from = deployment.fromDeploymentId === null ? undefined : view.get(deploymentRecords, deployment.fromDeploymentId)?.document;
  return {
    id: deployment.id,
    app: app?.name ?? '',
    environment: environment?.name ?? '',
    number: deployment.number,
    release: release?.number ?? 0,
    label: release?.label ?? null,
    cause: deployment.cause,
    fromNumber: from?.number ?? null,
    phase: status?.phase ?? 'waiting',
    stable: environment?.stableDeploymentId === deployment.id,
    canary: canaryReply(deps, deployment, status, environment),
    steps: (status?.steps ?? []).map((step) => ({ ...step })),
    reason: reasonReply(status?.reason ?? null),
    log: (status?.log ?? []).map((line) => ({ ...line })),
    url: app === undefined || environment === undefined ? null : urlOf(app, environment),
    createdAtMs: deployment.createdAtMs,
    createdBy: deployment.createdBy,
    endedAtMs: status?.endedAtMs ?? null,
  };
}

function canaryReply(
  deps: DeploymentReplyDeps,
  { canary: plan }: Deployment,
  status: DeploymentStatus | undefined,
  environment: Environment | undefined,
): DeploymentReply['canary'] {
  const progress = status?.canary;
  if (plan === undefined || plan === null || status === undefined || progress === undefined || progress === null) return null;
  const hold = progress.step === null ? null : (plan.steps[progress.step]?.holdMs ?? null);
  const trying = status.phase === 'canary' && !progress.promote && progress.inForceSinceMs !== null;
  return {
    steps: plan.steps.map((step) => ({ ...step })),
    rules: plan.rules.map(formatRule),
    sticky: plan.sticky === null ? null : formatSticky(plan.sticky),
    keepMs: plan.keepMs,
    step: progress.step === null ? null : progress.step + 1,
    percent: progress.percent,
    percentInForce:
      environment?.split?.deploymentId === status.id ? environment.split.percent : environment?.stableDeploymentId === status.id ? 100 : 0,
    promoted: progress.promote,
    nextAtMs: trying && hold !== null ? (progress.inForceSinceMs ?? 0) + hold : null,
    waits: trying && hold === null,
    figures: status.phase === 'canary' ? figuresReply(deps, environment?.stableDeploymentId ?? null, status.id) : [],
  };
}

type CanaryFigures = NonNullable<DeploymentReply['canary']>['figures'];

/** Over the longest time that is compared. */
function figuresReply(deps: DeploymentReplyDeps, stableId: string | null, candidateId: string): CanaryFigures {
  if (stableId === null) return [];
  const longest = new Map<string, CanaryFigures[number]>();
  for (const { entrypoint, windowMs, stable, candidate } of deps.trafficState().compare(stableId, candidateId)) {
    if ((longest.get(entrypoint)?.windowMs ?? 0) >= windowMs) continue;
    longest.set(entrypoint, { entrypoint, windowMs, stable: figuresOf(stable), candidate: figuresOf(candidate) });
  }
  return [...longest.values()].sort((a, b) => (a.entrypoint < b.entrypoint ? -1 : 1));
}

export function environmentReply({ view, urlOf }: ReplyDeps, environment: Environment, nowMs: number): EnvironmentReply {
  const app = view.get(appRecords, environment.appId)?.document;
  const state = environmentState(view, environment);
  return {
    id: environment.id,
    app: app?.name ?? '',
    name: environment.name,
    runtime: view.get(runtimeRecords, environment.runtimeId)?.document.name ?? '',
    stopped: environment.stopped,
    paused:
      environment.hold === undefined || environment.hold === null
        ? null
        : { sinceMs: environment.hold.sinceMs, heldUntilMs: environment.hold.sinceMs + environment.hold.maxMs },
    state: environment.state,
    stable: state.stable?.number ?? null,
    candidate: state.candidate?.number ?? null,
    release: state.release,
    url: app === undefined ? null : urlOf(app, environment),
    entrypoints: state.entrypoints.map(({ spec, wanted, healthy, source }) => ({
      name: spec.name,
      run: spec.run,
      command: [...spec.command],
      wanted,
      healthy,
      source,
      schedule: spec.schedule?.cron ?? null,
      nextTickMs: spec.schedule === null || environment.stopped || state.stable === null ? null : nextTickMs(spec.schedule, nowMs),
    })),
    createdAtMs: environment.createdAtMs,
  };
}

export function instanceReply(
  view: View,
  spec: InstanceSpec,
  { leftOut, usage }: { readonly leftOut: boolean; readonly usage: InstanceUsage | null },
): InstanceReply {
  const status = view.get(instanceStatusRecords, spec.id)?.document;
  const environment = spec.environmentId === null ? undefined : view.get(environmentRecords, spec.environmentId)?.document;
  const deployment = spec.deploymentId === null ? undefined : view.get(deploymentRecords, spec.deploymentId)?.document;
  return {
    id: spec.id,
    app: view.get(appRecords, spec.appId)?.document.name ?? '',
    environment: environment?.name ?? null,
    entrypoint: spec.entrypoint,
    role: spec.role,
    slot: spec.slot,
    deployment: deployment?.number ?? null,
    release: view.get(releaseRecords, spec.releaseId)?.document.number ?? 0,
    node: view.get(nodeSpecRecords, spec.nodeId)?.document.name ?? '',
    desired: spec.desired,
    draining: spec.draining,
    part: environment === undefined ? 'main' : partOf(view, environment, spec),
    phase: status?.phase ?? 'pending',
    healthy: status?.healthy ?? false,
    leftOut,
    address: status === undefined || status.address === null ? null : { ...status.address },
    pid: status?.pid ?? null,
    restarts: status?.restarts ?? 0,
    crashLoop: status?.crashLoop ?? false,
    exit: status === undefined || status.exit === null ? null : { ...status.exit },
    reason: reasonReply(status?.reason ?? null),
    usage:
      usage === null || status === undefined || status.pid === null
        ? null
        : {
            cpu: usage.cpu,
            cpuSeconds: usage.cpuSeconds,
            memoryBytes: usage.memoryBytes,
            processes: usage.processes,
            network: usage.network ?? null,
            disk: usage.disk ?? null,
          },
    notEnforced: [...(status?.notEnforced ?? [])],
    startedAtMs: status?.startedAtMs ?? null,
    createdAtMs: spec.createdAtMs,
  };
}
