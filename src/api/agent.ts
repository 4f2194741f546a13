// The internal contract between control and the agents: a snapshot of desired state, then deltas by sequence; a gap means a new
// snapshot. Control never calls an agent: it sends calls down the sync stream and the agent answers on a socket of its own.

import { endpoint } from './endpoint.ts';
import type { CoreShare, Artifact, DriverInfo, InstanceRole, InstanceStatus, NodeCapacity } from '../model/documents.ts';
import type { HostPower } from '../model/host-powers.ts';
import type { EntrypointSpec, Resources } from '../model/manifest-types.ts';
import type { DiskBytes, NetworkBytes, PackedPoint } from '../model/usage.ts';

/** All that an agent needs to run one Instance. Holds plain secret values: kept in memory only. */
export interface DesiredInstance {
  readonly id: string;
  readonly generation: number;
  readonly desired: 'run' | 'stop';
  readonly role: InstanceRole;
  readonly app: { readonly id: string; readonly name: string };
  readonly environment: { readonly id: string; readonly name: string } | null;
  readonly release: { readonly number: number; readonly label: string | null };
  readonly deploymentId: string | null;
  readonly entrypoint: string;
  readonly slot: number;
  readonly driver: string;
  readonly artifact: Artifact;
  /** Image that a folder runs in where its driver needs one; absent: none was named. */
  readonly base?: string;
  /** In order; a service has exactly one. Words with `${VAR}` still to be expanded. */
  readonly commands: readonly (readonly string[])[];
  /** Values of the manifest, of `libra env set` and Secrets, merged. The agent adds PORT, HOST and LIBRA_*. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of the variables in `env` whose values are Secrets: masked in what the agent reports. Absent: every value is taken for one. */
  readonly secretEnv?: readonly string[];
  /** `secret` is the name of the Secret, which names `LIBRA_FILE_<SECRET>`; absent: the last segment of the path. */
  readonly files: readonly { readonly path: string; readonly mode: number; readonly contentBase64: string; readonly secret?: string }[];
  readonly port: number | null;
  readonly listens: boolean;
  readonly resources: Resources;
  /** Cores of its own; absent: it shares. */
  readonly cores?: readonly CoreShare[];
  readonly health: EntrypointSpec['health'];
  readonly restart: EntrypointSpec['restart'];
  readonly stop: EntrypointSpec['stop'];
  readonly hooks: EntrypointSpec['hooks'];
  readonly volumes: EntrypointSpec['volumes'];
  readonly container?: EntrypointSpec['container'];
  /** What of its machine an administrator has granted it; absent: nothing. */
  readonly granted?: readonly HostPower[];
  /** Services that its App says to use, as its manifest has them; absent: none. */
  readonly uses?: readonly string[];
  readonly singleton: boolean;
  readonly disconnect: EntrypointSpec['disconnect'];
  /** For a build: path of the Dockerfile in the folder that an image is made of; absent: the work folder itself is the result. */
  readonly dockerfile?: string;
  /** For a build: the result is uploaded when all commands succeeded. */
  readonly packResult: boolean;
  /** Longest run of a one-off, milliseconds; null for services. */
  readonly timeoutMs: number | null;
}

/** Lines that are asked for. What is absent keeps none out. */
export interface LogFilter {
  /** UTC milliseconds, the first and the last that count. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** Pattern in RE2's syntax that occurs in the text. */
  readonly grep?: string;
}

/** Something that control wants to be told or done on the spot. Answered on `GET /v1/agent/calls/{call}` (a WebSocket). */
export type AgentCall =
  | {
      readonly kind: 'logs';
      readonly instanceId: string;
      /** Of the lines that pass the filter. */
      readonly tail: number;
      readonly after: string | null;
      readonly follow: boolean;
      /** Absent: every line. */
      readonly filter?: LogFilter;
    }
  | {
      readonly kind: 'exec';
      readonly instanceId: string;
      readonly command: readonly string[];
      /** It gets a terminal of this size; absent: pipes. */
      readonly terminal?: TerminalSize;
    }
  | {
      /** What is at a path of an Instance, as a tar in frames of output; then a `CopyEnd`, then `exit`. */
      readonly kind: 'read';
      readonly instanceId: string;
      readonly path: string;
    }
  | {
      /** Puts a tar at a path of an Instance: frames of input until `endInput`. Answered with a `CopyEnd`, then `exit`. */
      readonly kind: 'write';
      readonly instanceId: string;
      readonly path: string;
      /** Its entries begin with one name, in whose place the path's stands where no folder is there. */
      readonly named: boolean;
    }
  | {
      /** What they took; answered with a `UsageHistory` each, in frames of JSON. */
      readonly kind: 'stats';
      /** Of Instances, or NODE_AS_WHOLE. */
      readonly ids: readonly string[];
      /** UTC milliseconds. */
      readonly sinceMs: number;
      readonly untilMs: number;
    };

/** What became of a copy. */
export interface CopyEnd {
  /** Of a copy into the Instance. */
  readonly files?: number;
  readonly bytes?: number;
  readonly leftOut: number;
  /** The first of these. */
  readonly examples: readonly { readonly path: string; readonly why: string }[];
}

/** Stands for the machine where ids of Instances stand. */
export const NODE_AS_WHOLE = 'node';

/** Oldest first. Steps in which nothing was measured are missing. */
export interface UsageHistory {
  readonly id: string;
  readonly stepMs: number;
  readonly points: readonly PackedPoint[];
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

export type AgentMessage =
  /** Everything that this Node shall have; what is not in it is to be stopped and forgotten. */
  | { readonly type: 'snapshot'; readonly sequence: number; readonly instances: readonly DesiredInstance[] }
  /** Follows exactly the message with sequence − 1. */
  | { readonly type: 'delta'; readonly sequence: number; readonly put: readonly DesiredInstance[]; readonly remove: readonly string[] }
  | { readonly type: 'call'; readonly callId: string; readonly call: AgentCall }
  /** All machines that may reach Instances through the data port of this Node, by the ids of their Nodes. Sent first, and on change. */
  | { readonly type: 'peers'; readonly edges: readonly string[] }
  /** Besides those of before. An agent that does not know of it learns of them with the next `peers`. */
  | { readonly type: 'peers-added'; readonly machines: readonly string[] }
  /** All laptops that are connected to an Edge of this Node: by session, the port on which that listens for it on loopback. */
  | { readonly type: 'sessions'; readonly ports: Readonly<Record<string, number>> }
  /** Sent every few seconds, so that both ends notice a dead connection. */
  | { readonly type: 'ping' };

/** What an Instance took, as its Node has measured it. */
export interface InstanceUsage {
  readonly id: string;
  /** Since the start of the attempt that runs. */
  readonly cpuSeconds: number;
  /** Cores, on average since the measurement before; null: it is the first of this attempt. */
  readonly cpu: number | null;
  readonly memoryBytes: number;
  readonly processes: number;
  /** Since the start of the attempt, as all that follows; absent: it cannot be told. */
  readonly network?: NetworkBytes;
  readonly disk?: DiskBytes;
}

/** What a machine does as a whole, since it was started. What its kernel does not tell is absent. */
export interface NodeUsage {
  readonly cpuSeconds?: number;
  /** Cores, on average since the measurement before; null: it is the first. */
  readonly cpu: number | null;
  readonly load?: readonly [number, number, number];
  readonly memoryBytes?: number;
  readonly network?: NetworkBytes;
  readonly disk?: DiskBytes;
  /** Of the file system with its data folder. */
  readonly space?: { readonly usedBytes: number; readonly sizeBytes: number };
}

/** How forwarding to one target goes, counted since the agent was started. */
export interface ForwardStatus {
  readonly target: string;
  readonly lines: number;
  /** That are known to be lost. */
  readonly lost: number;
  /** Why nothing gets through; null while it does. */
  readonly failing: string | null;
}

export interface AgentReport {
  readonly drivers: readonly DriverInfo[];
  readonly capacity: NodeCapacity;
  readonly platform: { readonly os: string; readonly arch: string; readonly program: string };
  readonly bootId: string;
  /** Where other machines reach its Instances; absent or null: nowhere. */
  readonly dataPort?: { readonly host: string; readonly port: number } | null;
  /** Only what changed since the last acknowledged report, or all after a (re)connect. */
  readonly instances: readonly InstanceStatus[];
  /** Of every Instance that runs; absent where nothing was measured anew. */
  readonly usage?: readonly InstanceUsage[];
  /** With `usage`. */
  readonly nodeUsage?: NodeUsage;
  /** With `usage`, where output is forwarded. */
  readonly forwarding?: readonly ForwardStatus[];
}

/** Frames on a call socket: the first byte is the kind. */
export const CALL_FRAME = { input: 0, output: 1, errors: 2, endInput: 3, exit: 4, json: 5, failure: 6, resize: 7 } as const;

export const agent = {
  sync: endpoint({
    method: 'GET',
    path: '/v1/agent/sync',
    kind: 'sse',
    summary: 'Desired state of the calling Node.',
    permission: 'agent.sync',
    scope: 'none',
    reply: (z) => z.custom<AgentMessage>(),
    internal: true,
  }),
  report: endpoint({
    method: 'POST',
    path: '/v1/agent/report',
    summary: 'Heartbeat and changed Instance states of the calling Node.',
    permission: 'agent.sync',
    scope: 'none',
    bodyLimitBytes: 4 * 1024 * 1024,
    body: (z) => z.custom<AgentReport>((value) => typeof value === 'object' && value !== null),
    reply: (z) => z.object({ accepted: z.number() }),
    internal: true,
  }),
  gone: endpoint({
    method: 'POST',
    path: '/v1/agent/gone',
    summary: 'Which of the Environments that the calling Node has volumes of are gone for good.',
    permission: 'agent.sync',
    scope: 'none',
    body: (z) => z.object({ environments: z.array(z.string().max(100)).max(1000) }),
    reply: (z) => z.object({ gone: z.array(z.string()) }),
    internal: true,
  }),
  call: endpoint({
    method: 'GET',
    path: '/v1/agent/calls/{call}',
    kind: 'socket',
    summary: 'The answer to a call, as frames.',
    permission: 'agent.sync',
    scope: 'none',
    status: 101,
    errors: ['not_found'],
    internal: true,
  }),
};
