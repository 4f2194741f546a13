// A world in small for the rollout: agents that start, fail and lose Instances, Edges that follow late and hold requests, Nodes that die.
// It moves in ticks of a second and draws everything from one seed, so a found fault can be run again.

import { createSeededRandom } from '../../lib/id.ts';
import type { CanaryPlan } from '../../model/canary.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { Deployment, Environment, InstanceStatus } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { Comparison } from '../../model/version-counts.ts';
import { schedule } from '../scheduler/schedule.ts';
import type { NodeRoom } from '../scheduler/snapshot.ts';
import { aDeployment, aRelease, aStatus, anEntrypoint, anEnvironment } from '../test-context.ts';
import { requestOf } from './placement.ts';
import { initialProgress, takeOver } from './rollout-canary.ts';
import type { RolloutDeployment, RolloutInput, RolloutInstance, RolloutPlan } from './rollout-input.ts';
import { initialStatus } from './rollout-status.ts';
import { planRollout, supersededStatus } from './rollout.ts';

export type Behaviour = 'good' | 'crashes' | 'fails' | 'never-healthy' | 'slow';

export interface WorldOptions {
  readonly seed: number;
  readonly nodes: number;
  /** Chance of a spontaneous crash of a running Instance, per tick. */
  readonly crashRate: number;
  readonly entrypoints: Readonly<Record<string, Partial<EntrypointSpec>>>;
}

interface How {
  readonly canary: CanaryPlan | null;
  readonly promote: boolean;
  readonly from: string | null;
}

const ROLLED: How = { canary: null, promote: false, from: null };

interface SimulatedNode {
  alive: boolean;
  draining: boolean;
  deadSince: number | null;
}

/** What truly happens to an Instance, whatever has been reported. */
interface Program {
  startsIn: number;
  healthyIn: number;
  stopsIn: number | null;
  running: boolean;
}

const TICK_MS = 1000;
const LOST_AFTER_TICKS = 5;

export class World {
  readonly instances = new Map<string, RolloutInstance>();
  readonly deployments = new Map<string, RolloutDeployment>();
  readonly programs = new Map<string, Program>();
  readonly behaviours = new Map<string, Behaviour>();
  readonly nodes = new Map<string, SimulatedNode>();
  environment: Environment = anEnvironment({ stableDeploymentId: null, lastDeployment: 0 });
  nowMs = 1_000_000;
  /** What the Edge has counted. */
  comparisons: readonly Comparison[] = [];
  /** What the Edge has in force, and requests that draining ones still have. */
  readonly edge = new Map<string, 'active' | 'draining'>();
  readonly requests = new Map<string, number>();
  edgeLag = 0;
  sequence = 0;
  private readonly options: WorldOptions;
  private readonly random: () => number;

  constructor(options: WorldOptions) {
    this.options = options;
    const source = createSeededRandom(options.seed);
    this.random = () => source.next();
    for (let index = 0; index < options.nodes; index += 1)
      this.nodes.set(`node-${index}`, { alive: true, draining: false, deadSince: null });
  }

  private upTo(limit: number): number {
    return Math.floor(this.random() * (limit + 1));
  }

  private nextId(prefix: string): string {
    this.sequence += 1;
    return `${prefix}-${String(this.sequence).padStart(6, '0')}`;
  }

  deploy(behaviour: Behaviour, changes: Readonly<Record<string, Partial<EntrypointSpec> | null>> = {}, how: How = ROLLED): string {
    const entrypoints: Record<string, EntrypointSpec> = {};
    for (const [name, part] of Object.entries({ ...this.options.entrypoints, ...changes })) {
      if (part !== null)
        entrypoints[name] = anEntrypoint({ name, rollout: { surge: 1, unavailable: 0, deadlineMs: 30_000, drainMs: 5000 }, ...part });
    }
    const id = this.nextId('deployment');
    const number = this.environment.lastDeployment + 1;
    const deployment: Deployment = aDeployment({
      id,
      number,
      entrypoints,
      createdAtMs: this.nowMs,
      canary: how.canary,
      fromDeploymentId: how.from,
    });
    const status = initialStatus({
      id,
      environmentId: 'environment-1',
      nowMs: this.nowMs,
      building: false,
      beforeDeploy: false,
      canary: initialProgress(how.canary, how.promote),
      message: '',
    });
    const old = this.deployments.get(this.environment.candidateDeploymentId ?? '');
    if (old !== undefined && old.status.endedAtMs === null) {
      this.deployments.set(old.deployment.id, { ...old, status: supersededStatus(old.status, this.nowMs) });
    }
    this.deployments.set(id, { deployment, status, release: aRelease() });
    this.behaviours.set(id, behaviour);
    this.environment = {
      ...this.environment,
      ...takeOver(this.environment, old?.status ?? null, deployment),
      candidateDeploymentId: id,
      lastDeployment: number,
      stopped: false,
      generation: this.environment.generation + 1,
    };
    return id;
  }

  cancel(): void {
    const current = this.deployments.get(this.environment.candidateDeploymentId ?? '');
    if (current === undefined) return;
    this.deployments.set(current.deployment.id, { ...current, status: { ...current.status, cancelRequested: true } });
  }

  /** null: everything. */
  promote(percent: number | null): void {
    const current = this.deployments.get(this.environment.candidateDeploymentId ?? '');
    const canary = current?.status.canary;
    if (current === undefined || canary === undefined || canary === null || canary.promote) return;
    if (current.status.phase !== 'canary' && current.status.phase !== 'waiting') return;
    const next = percent === null ? { ...canary, promote: true } : { ...canary, step: null, percent, inForceSinceMs: null };
    this.deployments.set(current.deployment.id, { ...current, status: { ...current.status, canary: next, progress: {} } });
  }

  /** A rollback to what is kept at hand. */
  switchBack(): void {
    const id = this.environment.standby?.deploymentId;
    if (id === undefined) return;
    const canary: CanaryPlan = { steps: [{ percent: 0, holdMs: null }], rules: [], sticky: null, abortOn: null, keepMs: 0 };
    this.deploy(this.behaviours.get(id) ?? 'good', {}, { canary, promote: true, from: id });
  }

  scale(entrypoint: string, instances: number): void {
    this.environment = {
      ...this.environment,
      overrides: { entrypoints: { ...this.environment.overrides.entrypoints, [entrypoint]: { instances } } },
    };
  }

  setStopped(stopped: boolean): void {
    this.environment = { ...this.environment, stopped };
  }

  /** The Node falls silent; its programs go on or not, nobody knows, until it is given up: by then they have stopped. */
  kill(index: number): void {
    const node = this.nodes.get(`node-${index % this.nodes.size}`);
    const living = [...this.nodes.values()].filter((one) => one.alive).length;
    if (node === undefined || living <= 1) return;
    node.alive = false;
    node.deadSince = this.nowMs;
  }

  revive(): void {
    for (const node of this.nodes.values()) {
      node.alive = true;
      node.deadSince = null;
    }
  }

  drainNode(index: number, draining: boolean): void {
    const node = this.nodes.get(`node-${index % this.nodes.size}`);
    if (node !== undefined) node.draining = draining;
  }

  stopByHand(index: number): void {
    const live = [...this.instances.values()].filter((one) => !ended(one) && one.spec.desired === 'run');
    const chosen = live[index % Math.max(1, live.length)];
    if (chosen === undefined) return;
    this.instances.set(chosen.spec.id, { ...chosen, spec: { ...chosen.spec, desired: 'stop', generation: chosen.spec.generation + 1 } });
  }

  input(maxChanges = 40): RolloutInput {
    let ids = this.sequence;
    return {
      nowMs: this.nowMs,
      elapsedMs: (since) => this.nowMs - since,
      newId: () => {
        ids += 1;
        return `instance-${String(ids).padStart(6, '0')}`;
      },
      appState: 'active',
      environment: this.environment,
      deployments: this.deployments,
      instances: [...this.instances.values()],
      drainingNodes: new Set([...this.nodes].flatMap(([id, node]) => (node.draining ? [id] : []))),
      place: (requests) =>
        schedule(
          this.rooms(),
          requests.map((one) =>
            requestOf(
              one.entrypoint,
              { kind: 'none', base: null },
              {
                key: one.key,
                deploymentId: one.deployment.id,
                environmentId: one.deployment.environmentId,
                stickyNodeId: one.stickyNodeId,
              },
            ),
          ),
        ),
      stopFirst: isStopFirst,
      traffic: {
        inForce: (id) => this.edge.get(id) === 'active',
        drained: (id) => this.edge.get(id) === 'draining' && (this.requests.get(id) ?? 0) === 0,
        compare: () => this.comparisons,
      },
      maxChanges,
      maxCreates: maxChanges,
    };
  }

  private rooms(): readonly NodeRoom[] {
    return [...this.nodes].map(([id, node]): NodeRoom => {
      const here = [...this.instances.values()].filter((one) => one.spec.nodeId === id && !ended(one));
      const ports = new Set(here.flatMap((one) => this.specOf(one)?.port ?? []));
      return {
        id,
        name: id,
        labels: {},
        closed: !node.alive ? 'it is down' : node.draining ? 'it is draining' : null,
        drivers: [{ name: 'process', artifacts: ['bundle'], limits: { cpu: '', memory: '', user: '', disk: '' } }],
        capacity: { cpu: 100, memoryBytes: 1e12 },
        used: { cpu: here.length * 0.1, memoryBytes: here.length },
        ports,
        overcommit: { cpu: 1, memory: 1 },
        freePieces: [],
        hosts: new Set(),
        shunned: new Map(),
        perDeployment: new Map(),
      };
    });
  }

  specOf(instance: RolloutInstance): EntrypointSpec | undefined {
    return this.deployments.get(instance.spec.deploymentId ?? '')?.deployment.entrypoints[instance.spec.entrypoint];
  }

  /** Plans and commits; returns the Plan. */
  reconcile(): RolloutPlan {
    const plan = planRollout(this.input());
    for (const spec of [...plan.creates, ...plan.changes]) {
      this.instances.set(spec.id, { spec, status: this.instances.get(spec.id)?.status ?? null });
      this.sequence = Math.max(this.sequence, Number(spec.id.slice(-6)));
    }
    for (const status of plan.statuses) {
      const current = this.deployments.get(status.id);
      if (current !== undefined) this.deployments.set(status.id, { ...current, status });
    }
    if (plan.environment !== null) this.environment = plan.environment;
    return plan;
  }

  /** A second passes: agents, programs and the Edge go on. */
  tick(): void {
    this.nowMs += TICK_MS;
    for (const instance of this.instances.values()) this.live(instance);
    this.follow();
  }

  private report(instance: RolloutInstance, change: Partial<InstanceStatus>): void {
    const { id, nodeId, generation } = instance.spec;
    const before = instance.status ?? aStatus({ id, nodeId, phase: 'pending', healthy: false, address: null, pid: null });
    this.instances.set(id, { ...instance, status: { ...before, generation, updatedAtMs: this.nowMs, ...change } });
  }

  private live(instance: RolloutInstance): void {
    if (ended(instance)) return;
    const { spec } = instance;
    const node = this.nodes.get(spec.nodeId);
    const program = this.programs.get(spec.id) ?? { startsIn: this.upTo(2), healthyIn: this.upTo(3), stopsIn: null, running: false };
    this.programs.set(spec.id, program);
    if (node === undefined || !node.alive) {
      if (node?.deadSince !== null && this.nowMs - (node?.deadSince ?? 0) >= LOST_AFTER_TICKS * TICK_MS) {
        program.running = false;
        this.report(instance, { phase: 'lost', healthy: false });
      }
      return;
    }
    if (spec.desired === 'stop') {
      program.stopsIn ??= this.upTo(3);
      if (program.stopsIn > 0) {
        program.stopsIn -= 1;
        return this.report(instance, { phase: 'stopping', healthy: false });
      }
      program.running = false;
      return this.report(instance, { phase: 'stopped', healthy: false });
    }
    if (program.startsIn > 0) {
      program.startsIn -= 1;
      return this.report(instance, { phase: 'preparing' });
    }
    this.run(instance, program, this.behaviours.get(spec.deploymentId ?? '') ?? 'good');
  }

  private run(instance: RolloutInstance, program: Program, behaviour: Behaviour): void {
    program.running = true;
    switch (behaviour) {
      case 'crashes':
        return this.report(instance, { phase: 'backoff', crashLoop: true, healthy: false });
      case 'fails':
        program.running = false;
        return this.report(instance, { phase: 'failed', healthy: false });
      case 'never-healthy':
        return this.report(instance, { phase: 'starting', healthy: false });
      case 'slow':
      case 'good':
        if (program.healthyIn > 0) {
          program.healthyIn -= behaviour === 'slow' && this.random() < 0.5 ? 0 : 1;
          return this.report(instance, { phase: 'starting', healthy: false });
        }
        if (this.random() < this.options.crashRate) {
          program.healthyIn = this.upTo(4);
          return this.report(instance, { phase: 'backoff', healthy: false });
        }
        return this.report(instance, { phase: 'running', healthy: true, pid: 1, address: { host: '127.0.0.1', port: 1 } });
    }
  }

  private follow(): void {
    if (this.edgeLag > 0) {
      this.edgeLag -= 1;
      return;
    }
    this.edgeLag = this.upTo(2);
    for (const instance of this.instances.values()) {
      const { id, desired, draining } = instance.spec;
      const open = this.requests.get(id) ?? 0;
      if (open > 0 && this.random() < 0.5) this.requests.set(id, open - 1);
      if (desired === 'stop' || instance.status === null || ended(instance)) this.edge.delete(id);
      else if (draining) {
        if (this.edge.get(id) === 'active') this.requests.set(id, this.upTo(12));
        this.edge.set(id, 'draining');
      } else if (instance.status.healthy && !this.environment.stopped) this.edge.set(id, 'active');
      else this.edge.delete(id);
    }
  }

  /** Instances of an Entrypoint that get traffic. */
  available(entrypoint: string, of: (deploymentId: string | null) => boolean = () => true): number {
    return [...this.instances.values()].filter(
      ({ spec, status }) =>
        spec.entrypoint === entrypoint &&
        of(spec.deploymentId) &&
        spec.desired === 'run' &&
        !spec.draining &&
        status?.phase === 'running' &&
        this.edge.get(spec.id) === 'active',
    ).length;
  }

  /** Of those, the ones that the split gives anything. */
  serving(entrypoint: string): number {
    const { split } = this.environment;
    const idle = split !== undefined && split !== null && split.percent === 0 ? split.deploymentId : null;
    return this.available(entrypoint, (id) => id !== idle);
  }

  /** Programs that run, on Nodes that answer or not. */
  programsOf(entrypoint: string): number {
    return [...this.instances.values()].filter(({ spec }) => spec.entrypoint === entrypoint && this.programs.get(spec.id)?.running === true)
      .length;
  }
}

export function isStopFirst(spec: EntrypointSpec): boolean {
  return spec.singleton || spec.volumes.length > 0 || spec.port !== null;
}

export function ended(instance: RolloutInstance): boolean {
  return instance.status !== null && FINAL_INSTANCE_PHASES.has(instance.status.phase);
}

/** Whether there is nothing to write. */
export function isEmpty(plan: RolloutPlan): boolean {
  return plan.creates.length + plan.changes.length + plan.statuses.length === 0 && plan.environment === null;
}
