// What a driver must do: execute one attempt of an Instance so that it survives the agent, and say truthfully how it ended.
// Every implementation passes contract-suite.ts, the scripted fake included.

import type { Readable } from 'node:stream';
import type { ContainerOptions } from '../model/container-options.ts';
import type { HostPower } from '../model/host-powers.ts';
import type { Artifact, DriverInfo, Reason } from '../model/documents.ts';
import type { Resources } from '../model/manifest-types.ts';
import type { DiskBytes, NetworkBytes } from '../model/usage.ts';
import type { LeaveOut } from '../sys/copy-tar.ts';
import type { CopyReport } from '../sys/copy-unpack.ts';

/** Everything that is needed to start one attempt. Folders are made and filled by the agent before. */
export interface RunSpec {
  /** Instance id + `.` + attempt number. The idempotency key: a second ensure with the same key never starts a second program. */
  readonly key: string;
  readonly instanceId: string;
  readonly appId: string;
  readonly artifact: Artifact;
  /** Words, already expanded. */
  readonly argv: readonly string[];
  /** The whole environment; nothing else is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute path of the private work folder, which holds the unpacked bundle. */
  readonly workFolder: string;
  /** Absolute path where the driver keeps logs of this Instance. */
  readonly logFolder: string;
  readonly logBytes: number;
  /** Port that the program shall listen on; null where it does not listen. */
  readonly port: number | null;
  readonly resources: Resources;
  /** Of the machine, counted from 0, on which alone it runs; null: on all. */
  readonly cores: readonly number[] | null;
  /** null: run to the end of the program (one-offs). */
  readonly service: boolean;
  /** What a driver needs that runs programs in containers; absent: there is no image to run it in. */
  readonly container?: ContainerPart;
}

export interface ContainerPart {
  /** Reference of the image that it runs in. */
  readonly image: string;
  /** Those of one group reach each other. */
  readonly group: string;
  /** Of the machine, at which its port leads to the program. */
  readonly address: string;
  /** Port that the program listens on inside; `port` of the spec is the one of the machine that leads to it. */
  readonly port: number | null;
  /** Absolute, and the same inside; null: the image's own. */
  readonly workFolder: string | null;
  /** Absent: nothing is asked of it. */
  readonly options?: ContainerOptions;
  /** What of its machine an administrator has granted it; absent: nothing. */
  readonly granted?: readonly HostPower[];
  /** Host names that lead to this machine from inside; absent: none. */
  readonly machineNames?: readonly string[];
  /** Folders and files of the agent's. `target` is a path inside; a relative one counts from the image's work folder. */
  readonly mounts: readonly Mount[];
}

/** A network of containers, in which this machine has an address too. */
export interface ContainerNetwork {
  /** Of the machine. */
  readonly gateway: string;
  /** Keys of those that run in it, by their addresses. */
  readonly keys: Readonly<Record<string, string>>;
}

/** A registry on this machine that has an image by the digest of its manifest. */
export interface ImageSource {
  /** Address and port. */
  readonly registry: string;
  readonly repository: string;
  readonly digest: string;
  readonly user: string;
  readonly password: string;
}

/** An image that is to be built. */
export interface ImageOrder {
  /** Path in the folder. */
  readonly dockerfile: string;
  readonly reference: string;
  /** Whose network its commands use. */
  readonly group: string;
  readonly resources: Resources;
  readonly logFolder: string;
  readonly logBytes: number;
}

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** Environment variable that is to hold the absolute path inside. */
  readonly variable?: string;
}

/** Opaque to all but the driver; JSON; enough to find the program again after a restart of the agent or of the machine. */
export type DriverHandle = Readonly<Record<string, unknown>>;

export type RunState =
  | { readonly state: 'running'; readonly pid: number | null; readonly startedAtMs: number }
  | {
      readonly state: 'exited';
      readonly code: number | null;
      readonly signal: string | null;
      readonly outOfMemory: boolean;
      readonly atMs: number;
      /** What else is known of the end, for people. */
      readonly note?: string;
    }
  /** It is gone and nobody saw how: machine restarted, or the keeper died too. Final. */
  | { readonly state: 'unknown'; readonly message: string };

export interface LogLine {
  /** UTC milliseconds at which the line began to arrive (resolution: the pump's read). */
  readonly atMs: number;
  readonly stream: 'stdout' | 'stderr';
  /** Without the line end; at most 64 KiB, longer lines are split. */
  readonly text: string;
  /** Position after this line; opaque, ordered, survives restarts. Reading `after` it repeats and loses nothing that is still kept. */
  readonly cursor: string;
}

export interface LogOptions {
  /** Last lines to begin with; undefined: from the oldest kept. */
  readonly tail?: number | undefined;
  readonly after?: string | undefined;
  readonly follow: boolean;
  /** Leaves out a last line that may still go on. */
  readonly wholeLines?: boolean | undefined;
  readonly signal: AbortSignal;
}

export interface Terminal {
  readonly columns: number;
  readonly rows: number;
}

export interface ExecSession {
  write(chunk: Uint8Array): Promise<void>;
  endInput(): void;
  readonly output: AsyncIterable<{ readonly stream: 'stdout' | 'stderr'; readonly chunk: Uint8Array }>;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** Only of a session with a terminal. */
  resize?(terminal: Terminal): Promise<void>;
  kill(): void;
}

/** Since the start of the attempt. */
export interface Usage {
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  readonly processes: number;
  /** Absent: what it sends cannot be told from what others of the machine do. */
  readonly network?: NetworkBytes;
  /** What reached disks or will; absent: nobody counts it. */
  readonly disk?: DiskBytes;
}

/** A path of an Instance, as people give it. */
export interface CopyPlace {
  readonly path: string;
  /** Relative paths count from there, absolute; null: where the image works. */
  readonly workFolder: string | null;
  /** Of the agent's, all that the Instance may fill: work folder, volumes and the like. */
  readonly folders: readonly string[];
}

export interface Driver {
  readonly info: DriverInfo;
  /** Its programs have ports of their own: whatever port they want inside, it leads there from any port of the machine. */
  readonly hasOwnPorts?: boolean;
  /** Networks of its own that its programs are in. */
  readonly containerNetworks?: () => Promise<readonly ContainerNetwork[]>;
  /**
   * Has the image at hand before a start needs it, which may take minutes. Idempotent.
   * @param from another registry than the one that its name says
   */
  fetchImage?(reference: string, signal: AbortSignal, from?: ImageSource): Promise<void>;
  /** Makes an image of a folder, which comes as a tar. `build_failed`: it was tried and cannot be. */
  buildImage?(context: Readable, order: ImageOrder, signal: AbortSignal): Promise<void>;
  /** An image as a tar, as Docker saves one. */
  saveImage?(reference: string, signal: AbortSignal): Promise<Readable>;
  /**
   * Starts the attempt, or finds the one that this key started before. Resolves when the program has been started (not: healthy).
   * A program that cannot be started (no such command, no permission) rejects with `start_failed` and details.reason: Reason['code'].
   */
  ensure(spec: RunSpec): Promise<DriverHandle>;
  /** The state now; `unknown` where the handle's program is gone without a record. */
  inspect(handle: DriverHandle): Promise<RunState>;
  /** Resolves with the final state when the program has ended. */
  wait(handle: DriverHandle, signal: AbortSignal): Promise<RunState>;
  /** Sends the signal, waits up to timeoutMs, then kills everything that the attempt started, children that changed their session
   *  included. Resolves when nothing of it is left. Idempotent. */
  stop(handle: DriverHandle, options: { readonly signal: string; readonly timeoutMs: number }): Promise<RunState>;
  /** Forgets a stopped attempt and deletes the driver's records of it (not the log folder). Idempotent. */
  remove(handle: DriverHandle): Promise<void>;
  logs(logFolder: string, options: LogOptions): AsyncIterable<LogLine>;
  /** What keeps it from being healthy, seen from outside: listens elsewhere, on another address, over its quota. null: nothing to add. */
  diagnose?(handle: DriverHandle, spec: RunSpec): Promise<Pick<Reason, 'code' | 'message' | 'hint'> | null>;
  exec?(
    handle: DriverHandle,
    options: {
      readonly argv: readonly string[];
      readonly env: Readonly<Record<string, string>>;
      readonly cwd: string;
      /** The command gets a terminal, on which both outputs are one; `unsupported` where the driver has none. */
      readonly terminal?: Terminal;
    },
  ): Promise<ExecSession>;
  /** What is at a path, as a tar whose entries begin with one name (`packCopy`). `not_found`: nothing is. */
  readFiles?(handle: DriverHandle, place: CopyPlace, leaveOut: LeaveOut): AsyncIterable<Uint8Array>;
  /**
   * Puts what is in such a tar, which may be hostile, at a path: into the folder there, or under that name where none is. It belongs to
   * the program then. What came before a failure stays.
   */
  writeFiles?(
    handle: DriverHandle,
    place: CopyPlace,
    tar: AsyncIterable<Uint8Array>,
    options: {
      /** False: entries begin as they like, and a folder has to be at the path. */
      readonly named: boolean;
      readonly leaveOut: LeaveOut;
      readonly signal: AbortSignal;
    },
  ): Promise<CopyReport>;
  /** The attempt may run for so long from now, milliseconds; it is killed then by somebody who does not depend on the agent, unless this is said again. */
  attend?(handle: DriverHandle, forMs: number): Promise<void>;
  /** Keeps a running attempt to these cores of the machine, from now on. */
  confine?(handle: DriverHandle, cores: readonly number[]): Promise<void>;
  usage?(handle: DriverHandle): Promise<Usage>;
  /** Bytes on disk that the program wrote elsewhere than into the agent's folders. */
  writtenBytes?(handle: DriverHandle): Promise<number>;
  /** Ends whatever runs under this driver's name for Instances that the agent does not know; returns their keys. Called once after start. */
  sweep(knownKeys: ReadonlySet<string>): Promise<readonly string[]>;
  /** Makes existing folders (work folder, volumes) private to the App: called after they are filled and before `ensure`. */
  prepareFolders?(appId: string, folders: readonly string[]): Promise<void>;
  /** Deletes what nothing uses and can be had again. Called now and then. */
  collect?(): Promise<void>;
  /** What could not be enforced for this handle, for people. */
  notEnforced(handle: DriverHandle): readonly string[];
  close(): Promise<void>;
}
