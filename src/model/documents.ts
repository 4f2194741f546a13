// The stored documents: the nouns of the platform as plain data. Desired state (spec) and observed state (status) are separate
// documents, so that the one who decides and the one who reports never overwrite each other. All times: UTC milliseconds.

import type { CanaryPlan } from './canary.ts';
import type { HostPower } from './host-powers.ts';
import type { EntrypointSpec, Manifest } from './manifest-types.ts';
import type { TrafficSplit } from './traffic-split.ts';

export interface Team {
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
}

/** A credential. Only the SHA-256 of the secret is kept. */
export interface Token {
  readonly id: string;
  readonly name: string;
  readonly hash: string;
  readonly principal:
    | { readonly kind: 'owner' }
    | { readonly kind: 'node'; readonly nodeId: string }
    | { readonly kind: 'edge'; readonly nodeId: string };
  readonly createdAtMs: number;
}

export interface App {
  readonly id: string;
  readonly name: string;
  readonly teamId: string;
  readonly gitUrl: string | null;
  /** Number of the newest Release; the next one is this plus 1. */
  readonly lastRelease: number;
  /** deleting: its Instances are being stopped; the record goes when the last is gone. */
  readonly state: 'active' | 'deleting';
  readonly createdAtMs: number;
}

/** What a build made, as blobs of control. */
export interface BuildOutput {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Further blobs that it needs: configuration and layers of an image. Absent: none. */
  readonly parts?: readonly string[];
}

export type Artifact =
  | { readonly kind: 'bundle'; readonly digest: string; readonly sizeBytes: number }
  | {
      readonly kind: 'image';
      readonly reference: string;
      /** Built here, for Nodes that have not built it: its manifest, and what that names. Absent: it is in its registry. */
      readonly blob?: BuildOutput;
    };

/** A reason that a person can act on: a code for programs, a message, the last output, the next step. */
export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
  readonly hint: string | null;
  /** The last lines of output, oldest first; at most 20 lines of 500 characters. */
  readonly lastLines: readonly string[];
  /** The Instance it is about, where there is one. */
  readonly instanceId: string | null;
}

/** Why an Instance, a build, a Release or a Deployment is in trouble. */
export type ReasonCode =
  | 'command_not_found'
  | 'exited'
  | 'crash_loop'
  | 'never_listened'
  | 'wrong_port'
  | 'wrong_address'
  | 'health_status'
  | 'health_timeout'
  | 'health_command'
  | 'out_of_memory'
  | 'disk_quota'
  | 'missing_variable'
  | 'missing_secret'
  | 'killed'
  | 'outcome_unknown'
  | 'bundle_unreadable'
  | 'build_failed'
  | 'before_deploy_failed'
  | 'hook_failed'
  | 'no_capacity'
  | 'node_down'
  | 'deadline'
  | 'canary_worse'
  | 'driver_error'
  | 'not_allowed'
  | 'port_taken'
  | 'superseded'
  | 'canceled';

/** Immutable but for the outcome of its build. */
export interface Release {
  readonly id: string;
  readonly appId: string;
  /** 1, 2, 3 … per App. */
  readonly number: number;
  readonly label: string | null;
  readonly source: { readonly kind: 'folder' | 'git' | 'image' | 'package'; readonly description: string };
  readonly manifest: Manifest;
  /** What was uploaded; null for an image. */
  readonly bundle: { readonly digest: string; readonly sizeBytes: number } | null;
  /** What runs; null until a build is ready. */
  readonly artifact: Artifact | null;
  readonly state: 'building' | 'ready' | 'failed';
  /** The one-off Instance that builds it. */
  readonly buildInstanceId: string | null;
  readonly reason: Reason | null;
  readonly createdAtMs: number;
  readonly createdBy: string;
}

/** The result of an earlier build with equal input. */
export interface BuildCacheEntry {
  /** SHA-256 over source digest, commands and platform. */
  readonly id: string;
  readonly artifact: Artifact;
  readonly usedAtMs: number;
}

/** What an administrator lets the containers of an App do with the machines that they run on. */
export interface HostGrant {
  readonly id: string;
  readonly appId: string;
  /** Name; null: in every Environment. */
  readonly environment: string | null;
  readonly power: HostPower;
  readonly createdAtMs: number;
  readonly createdBy: string;
}

export interface Runtime {
  readonly id: string;
  readonly name: string;
  readonly teamId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
}

export interface Environment {
  readonly id: string;
  readonly appId: string;
  readonly name: string;
  readonly runtimeId: string;
  /** Grows with every change of what is desired; placement commits are guarded by it. */
  readonly generation: number;
  /** The Deployment that serves, null before the first success. */
  readonly stableDeploymentId: string | null;
  /** The Deployment being brought in, null when nothing moves. Only the newest is ever here. */
  readonly candidateDeploymentId: string | null;
  readonly lastDeployment: number;
  /** What `libra scale` says; strongest of all. */
  readonly overrides: { readonly entrypoints: Readonly<Record<string, { readonly instances?: number }>> };
  /** True after `libra stop`: no Instances, requests get a page that says so. */
  readonly stopped: boolean;
  /** When the last stop ended: what a schedule missed until then is not made up for. */
  readonly resumedAtMs?: number;
  /** The one Deployment whose share of the traffic is set apart: the canary, or one that leaves and gets nothing more. */
  readonly split?: TrafficSplit | null;
  /** The Deployment that served before, whose Instances stay at hand without traffic for a while. */
  readonly standby?: Standby | null;
  /** After `libra pause`: requests wait from then on, at most so long; later ones get a page. */
  readonly hold?: { readonly sinceMs: number; readonly maxMs: number } | null;
  readonly state: 'active' | 'deleting';
  readonly createdAtMs: number;
}

/** A developer's laptop that stands in for an Entrypoint. Only the SHA-256 of the credential that it connects with is kept. */
export interface DevSession {
  readonly id: string;
  readonly appId: string;
  readonly environmentId: string;
  readonly entrypoint: string;
  /** personal: only what names its key. replace: whatever comes for the Entrypoint. */
  readonly mode: 'personal' | 'replace';
  readonly key: string;
  readonly owner: string;
  /** Whose machine it is, as that says itself. */
  readonly from: string;
  readonly hash: string;
  /** Services that its program may call, as the manifest on the laptop has them; absent: none. */
  readonly uses?: readonly string[];
  /** Path prefixes that lead to it while nothing is deployed there. */
  readonly paths: readonly string[];
  /** Where the laptop is reached; null: it is not connected. */
  readonly attached: SessionAttachment | null;
  /** When it was last connected, or made. */
  readonly lastAttachedMs: number;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

/** The Edge that a laptop is connected to, and where that listens for it on its Node. */
export interface SessionAttachment {
  readonly edgeId: string;
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
  /** When the laptop connected there; of several the newest counts. */
  readonly sinceMs: number;
}

export interface Standby {
  readonly deploymentId: string;
  readonly sinceMs: number;
  readonly keepMs: number;
}

/** A version of an env value or Secret; sealed with AAD `values/<id>@<version>`. */
export interface ConfigValue {
  readonly id: string;
  readonly environmentId: string;
  readonly kind: 'env' | 'secret';
  readonly name: string;
  readonly version: number;
  /** Base64url envelope; null marks an unset. */
  readonly sealed: string | null;
  readonly createdAtMs: number;
  readonly createdBy: string;
}

/** Where the value of a variable comes from, fixed at the time of the Deployment. */
export type EnvSource =
  | { readonly kind: 'plain'; readonly value: string }
  | { readonly kind: 'value'; readonly valueId: string; readonly name: string; readonly version: number };

export type DeploymentCause = 'deploy' | 'rollback' | 'restart' | 'config';

/** Immutable: what shall run. */
export interface Deployment {
  readonly id: string;
  readonly appId: string;
  readonly environmentId: string;
  readonly releaseId: string;
  /** 1, 2, 3 … per Environment. */
  readonly number: number;
  readonly cause: DeploymentCause;
  /** The older Deployment that a rollback or restart was made from. */
  readonly fromDeploymentId: string | null;
  readonly runBeforeDeploy: boolean;
  /** How it is tried beside the one that serves; absent or null: it is rolled out at once. */
  readonly canary?: CanaryPlan | null;
  /** Effective specs by Entrypoint; `instances` here is the manifest's word, live scale comes from the Environment. */
  readonly entrypoints: Readonly<Record<string, EntrypointSpec>>;
  /** Resolved variables by Entrypoint, then name. */
  readonly env: Readonly<Record<string, Readonly<Record<string, EnvSource>>>>;
  /** Secret files by Entrypoint: path → value. */
  readonly files: Readonly<
    Record<
      string,
      readonly { readonly path: string; readonly mode: number; readonly valueId: string; readonly name: string; readonly version: number }[]
    >
  >;
  readonly createdAtMs: number;
  readonly createdBy: string;
}

export type DeploymentPhase =
  | 'waiting' /* for the Release to be ready */
  | 'before-deploy'
  | 'canary' /* its first Instances serve their share beside the stable ones, until it is promoted or taken back */
  | 'rolling' /* new Instances start and must become healthy, old ones leave one by one */
  | 'draining' /* all new ones serve; the last old ones finish their requests */
  | 'returning' /* failed: its own Instances are being removed, the old ones are brought back to full count */
  | 'succeeded'
  | 'failed'
  | 'superseded'
  | 'canceled';

export interface DeploymentStep {
  readonly name: 'build' | 'before-deploy' | 'canary' | 'start' | 'drain' | 'return';
  readonly state: 'pending' | 'running' | 'done' | 'failed' | 'skipped';
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
  /** One line of progress, such as `2 of 3 healthy`. */
  readonly message: string;
}

/** Where a canary stands. Its share in force is in the Environment's split. */
export interface CanaryProgress {
  /** Index of the step; null: somebody has set the share by hand. */
  readonly step: number | null;
  /** Share that is asked for, 0 to 100. */
  readonly percent: number;
  /** Since when that share is in force; null: the Instances that it takes are still starting. */
  readonly inForceSinceMs: number | null;
  /** It shall take everything. */
  readonly promote: boolean;
}

/** Has the id of its Deployment. */
export interface DeploymentStatus {
  readonly id: string;
  readonly environmentId: string;
  readonly phase: DeploymentPhase;
  readonly steps: readonly DeploymentStep[];
  readonly reason: Reason | null;
  /** Bounded log, oldest first; at most 200 lines. */
  readonly log: readonly { readonly atMs: number; readonly message: string }[];
  readonly cancelRequested: boolean;
  /** While rolling, by Entrypoint: the most slots that were healthy at once, and when that was last bettered; the deadline counts from then. */
  readonly progress?: Readonly<Record<string, { readonly best: number; readonly sinceMs: number }>>;
  /** From the making of a canary on, kept to its end. */
  readonly canary?: CanaryProgress | null;
  readonly updatedAtMs: number;
  readonly endedAtMs: number | null;
}

export type InstanceRole = 'service' | 'before-deploy' | 'schedule' | 'run' | 'build';

/** Desired state of one Instance. */
/** Of a core of a Node, by its number, what one Instance has to itself; in hundredths. */
export interface CoreShare {
  readonly core: number;
  readonly pieces: number;
}

export interface InstanceSpec {
  /** UUIDv7; for a cron tick it is derived from Entrypoint and tick, so the same tick can never exist twice. */
  readonly id: string;
  readonly appId: string;
  /** null for a build. */
  readonly environmentId: string | null;
  /** null for a build. */
  readonly deploymentId: string | null;
  readonly releaseId: string;
  readonly entrypoint: string;
  readonly role: InstanceRole;
  /** 0..n−1 for services; 0 for one-offs. */
  readonly slot: number;
  readonly nodeId: string;
  /** Cores of its own there; absent: it shares those that nobody has to himself. */
  readonly cores?: readonly CoreShare[];
  /** Grows with every change; an agent refuses an older one. */
  readonly generation: number;
  readonly desired: 'run' | 'stop';
  /** draining: out of the route table, its open requests go on. Never true for one-offs. */
  readonly draining: boolean;
  readonly drainingSinceMs: number | null;
  /** For `run` and `build`: the commands in order, instead of the Entrypoint's. */
  readonly commands: readonly (readonly string[])[] | null;
  /** For `schedule`: the tick, UTC milliseconds. */
  readonly tickMs: number | null;
  /** One-offs end with their output kept until then. */
  readonly createdAtMs: number;
}

export type InstancePhase =
  | 'pending' /* not yet taken up by its agent */
  | 'preparing' /* artifact, folder, volumes */
  | 'starting' /* runs, not yet healthy */
  | 'running' /* healthy */
  | 'unhealthy' /* was healthy, checks fail */
  | 'backoff' /* ended, waits for its next start */
  | 'stopping'
  | 'stopped' /* final: stopped on request */
  | 'succeeded' /* final: a one-off ended with 0 */
  | 'failed' /* final: will not be started again */
  | 'unknown' /* final: a one-off whose end nobody saw */
  | 'lost'; /* final: its Node is down */

/** Has the id of its Instance. Written by the agent's reports; `lost` by node-health. */
export interface InstanceStatus {
  readonly id: string;
  readonly nodeId: string;
  readonly generation: number;
  readonly phase: InstancePhase;
  /** True while it may get traffic. */
  readonly healthy: boolean;
  readonly address: { readonly host: string; readonly port: number } | null;
  readonly pid: number | null;
  readonly restarts: number;
  /** True when it keeps ending soon after its start. */
  readonly crashLoop: boolean;
  readonly exit: { readonly code: number | null; readonly signal: string | null; readonly atMs: number } | null;
  readonly reason: Reason | null;
  /** What the driver could not enforce, such as `memory limit not enforced: no writable cgroup`. */
  readonly notEnforced: readonly string[];
  readonly startedAtMs: number | null;
  readonly healthySinceMs: number | null;
  /** For a build: what it made. */
  readonly output: BuildOutput | null;
  readonly updatedAtMs: number;
}

export interface DriverInfo {
  readonly name: string;
  /** Artifact kinds it can run. */
  readonly artifacts: readonly Artifact['kind'][];
  /** Its programs run in containers, of which an Entrypoint may ask things; absent: they do not. */
  readonly containers?: boolean;
  /** `enforced`, or why not. `cores` absent: it knows no cores of an Instance's own. */
  readonly limits: { readonly cpu: string; readonly memory: string; readonly user: string; readonly disk: string; readonly cores?: string };
}

/** What a machine that joined may run. */
export type MachineRole = 'agent' | 'edge';

/** What a machine may be invited for: a control plane runs the others by itself. */
export type InvitedRole = MachineRole | 'control';

/** Leave for one machine to join, once. Only the SHA-256 of its secret is kept. */
export interface Invitation {
  readonly id: string;
  readonly hash: string;
  /** Of the Node; null: as the machine is called. */
  readonly nodeName: string | null;
  readonly runtimeId: string;
  readonly roles: readonly InvitedRole[];
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  /** The one machine that came with it, by its key; null: none so far. A control plane makes its Node itself. */
  readonly usedBy: { readonly nodeId: string | null; readonly key: string } | null;
}

export interface NodeSpec {
  readonly id: string;
  readonly name: string;
  readonly runtimeId: string;
  readonly labels: Readonly<Record<string, string>>;
  /** So many times what it has may be asked for; absent: once. */
  readonly overcommit?: { readonly cpu: number; readonly memory: number };
  /** Share of its cpu, memory and volume space that Instances do not get, from 0 to below 1; absent: none. */
  readonly reserved?: number;
  /** Things on it that can be counted and given to one Instance each, such as `gpu`. */
  readonly devices?: Readonly<Record<string, number>>;
  /** For volumes, in place of what its agent reports. */
  readonly volumeBytes?: number;
  /** cordoned: keeps what it has, gets nothing new. draining: is being emptied. */
  readonly scheduling: 'open' | 'cordoned' | 'draining';
  /**
   * For a machine that joined: what it may run, and the SHA-256 of the public keys that it is known by, the newest first. Absent: a
   * machine of the control plane.
   */
  readonly machine?: { readonly roles: readonly MachineRole[]; readonly keys: readonly string[] };
  readonly createdAtMs: number;
}

/** What an agent finds on its machine. */
export interface NodeCapacity {
  readonly cpu: number;
  readonly memoryBytes: number;
  /** Of the file system of volumes; absent: it is not known. */
  readonly volumeBytes?: number;
}

export interface NodeStatus {
  readonly id: string;
  readonly state: 'up' | 'down';
  readonly drivers: readonly DriverInfo[];
  readonly capacity: NodeCapacity;
  readonly platform: { readonly os: string; readonly arch: string; readonly program: string };
  readonly bootId: string;
  /** Where other machines reach its Instances; absent or null: nowhere. */
  readonly dataPort?: { readonly host: string; readonly port: number } | null;
  readonly lastSeenMs: number;
}

export interface Event {
  readonly id: string;
  readonly atMs: number;
  readonly level: 'info' | 'warning' | 'error';
  /** Such as `deployment.failed`. */
  readonly kind: string;
  readonly message: string;
  readonly subject: {
    readonly appId?: string;
    readonly environmentId?: string;
    readonly deploymentId?: string;
    readonly instanceId?: string;
    readonly nodeId?: string;
  };
  readonly runbook: string | null;
}

/** Phases that never change again. */
export const FINAL_INSTANCE_PHASES: ReadonlySet<InstancePhase> = new Set(['stopped', 'succeeded', 'failed', 'unknown', 'lost']);
export const FINAL_DEPLOYMENT_PHASES: ReadonlySet<DeploymentPhase> = new Set(['succeeded', 'failed', 'superseded', 'canceled']);
