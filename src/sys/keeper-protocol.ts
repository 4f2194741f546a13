// What is said on the keeper's Unix socket: one JSON value per line, requests with an id, replies with the same id, and events to
// everyone connected. The keeper knows nothing of Apps: it spawns, pumps, records and holds sockets, and must never need a restart.

/** Identity of a process that survives pid reuse and reboots. */
export interface ProcessIdentity {
  readonly bootId: string;
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat. */
  readonly startTicks: string;
}

export interface SpawnRequest {
  /** Idempotency key. A second spawn with a key that is known answers with the first one's record. */
  readonly key: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: { readonly uid: number; readonly gid: number } | null;
  /** Folders of cgroups (v1: one per controller; v2: one) that the program is born into. */
  readonly cgroups: readonly string[];
  /** Where output goes; rotated, at most `bytes` on disk. */
  readonly log: { readonly folder: string; readonly bytes: number };
  /** Folder for the FIFOs and the record (`record.json`: identity, then exit). Private to the platform. */
  readonly recordFolder: string;
  /** Names of held listeners that the program gets as descriptors 3, 4, … in this order. */
  readonly listeners: readonly string[];
  /** Platform programs only (data plane, librad in the background): start again after every end, with back-off. */
  readonly restart: { readonly minMs: number; readonly maxMs: number } | null;
}

export interface ProcessRecord {
  readonly key: string;
  readonly identity: ProcessIdentity | null;
  readonly state: 'running' | 'exited' | 'failed';
  readonly startedAtMs: number;
  readonly exit: { readonly code: number | null; readonly signal: string | null; readonly atMs: number } | null;
  /** Why it could not be started, as errno name and text: `ENOENT`, `EACCES`, … */
  readonly error: { readonly code: string; readonly message: string } | null;
  /** Times that `restart` has started it again. */
  readonly restarts: number;
}

export interface ListenRequest {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** True where a data plane of this platform may still hold the port after the keeper was killed. */
  readonly takeover: boolean;
}

export type KeeperRequest =
  | { readonly op: 'hello'; readonly program: string }
  | ({ readonly op: 'spawn' } & SpawnRequest)
  /** Takes over pump and exit watch of a program that an earlier keeper spawned. Its exit code can no longer be known. */
  | { readonly op: 'attach'; readonly key: string; readonly recordFolder: string; readonly log: SpawnRequest['log'] }
  | { readonly op: 'list' }
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'signal'; readonly key: string; readonly signal: string; readonly group: boolean }
  /** The program may run for so long from now, milliseconds: if nobody says so again, it and its group are killed then. */
  | { readonly op: 'attend'; readonly key: string; readonly forMs: number }
  /** Ends `restart` for the key, without a signal. */
  | { readonly op: 'retire'; readonly key: string }
  | { readonly op: 'forget'; readonly key: string }
  | ({ readonly op: 'listen' } & ListenRequest)
  | { readonly op: 'unlisten'; readonly name: string }
  /** Stops being needed: ends when nothing runs any more, or at once with `force` (programs live on, the next keeper adopts them). */
  | { readonly op: 'shutdown'; readonly force: boolean };

export type KeeperReply =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | {
      readonly id: number;
      readonly ok: false;
      readonly code: string;
      readonly message: string;
      /** Public facts, such as pid and name of the holder of a taken port. */
      readonly details?: Readonly<Record<string, unknown>>;
    };

/** `value` of the replies, by request. */
export interface KeeperReplies {
  readonly hello: { readonly program: string; readonly pid: number; readonly bootId: string };
  readonly spawn: ProcessRecord;
  readonly attach: ProcessRecord;
  readonly list: {
    readonly processes: readonly ProcessRecord[];
    readonly listeners: readonly { readonly name: string; readonly host: string; readonly port: number }[];
  };
  readonly get: ProcessRecord | null;
  readonly signal: { readonly delivered: boolean };
  readonly attend: null;
  readonly retire: null;
  readonly forget: null;
  readonly listen: { readonly port: number };
  readonly unlisten: null;
  readonly shutdown: null;
}

export type KeeperEvent = { readonly event: 'process'; readonly record: ProcessRecord };
