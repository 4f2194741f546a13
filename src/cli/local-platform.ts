// What the command line may ask of the machine that it runs on, without the API. main.ts implements it: the CLI never imports the
// folders that run the platform, nor config.ts.

import type { Laptop } from './laptop.ts';
import type { OptionSpec } from './option-spec.ts';

export interface LocalAddresses {
  readonly api: string;
  /** Where Apps answer, for people: `http://<app>.localhost:8080`. */
  readonly apps: string;
  /** Of a machine that joined the platform at `api`: its Node. */
  readonly node?: string;
  /** What whoever started it has to know. */
  readonly warning?: string;
  /** Process id of librad. */
  readonly pid: number;
  readonly version: string;
}

/** Values of the flags of `libra up`, by flag name without dashes; they win over variables and defaults. */
export type UpFlags = Readonly<Record<string, string | undefined>>;

export interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly message: string;
  readonly hint: string | null;
}

/** Of a machine that joined a platform elsewhere. */
export interface LocalMembership {
  readonly url: string;
  /** Of its Node; null: it became a control plane, which makes its Node itself. */
  readonly name: string | null;
  readonly roles: readonly string[];
}

export interface LocalPlatform {
  readonly version: string;
  /** As the place of a developer's program. */
  readonly laptop: Laptop;
  /** Flags of `libra up`, from the table of settings. */
  readonly upOptions: readonly OptionSpec[];
  /** Folder of the example that `npm start` deploys. */
  readonly exampleFolder: string;
  /** Runs the platform in this process until the signal aborts or a shutdown is asked for over the API. */
  run(
    flags: UpFlags,
    options: {
      readonly signal: AbortSignal;
      /** Called once, when the platform serves. */
      readonly onReady: (addresses: LocalAddresses) => void;
      readonly onProgress: (message: string) => void;
    },
  ): Promise<void>;
  /** Starts the platform in the background, under the keeper, and resolves when it serves. */
  startInBackground(flags: UpFlags, options: { readonly onProgress: (message: string) => void }): Promise<LocalAddresses>;
  /** Makes this machine a Node of the platform at the URL; does nothing where it is one already. */
  join(request: {
    readonly url: string;
    readonly token: string;
    readonly flags: UpFlags;
  }): Promise<{ readonly membership: LocalMembership; readonly already: boolean }>;
  /** Asks the librad of a machine that joined for its end; it has no API of its own. */
  stopMember(): Promise<void>;
  /** Addresses of the platform that runs on the local data folder; null where none runs. */
  running(): Promise<LocalAddresses | null>;
  /** Whether something of the platform (Edge, Instances) runs on although librad does not. */
  hasLeftovers(): Promise<boolean>;
  /** The owner token of the local data folder; null where there is none that this user can read. */
  ownerToken(): Promise<string | null>;
  /** Waits until the platform of the local data folder has ended; false when the deadline (milliseconds) passed first. */
  waitUntilDown(deadlineMs: number): Promise<boolean>;
  /** Copies the store of the local data folder into an empty one of another engine; nobody may use either. Returns how many entries. */
  migrateStore(
    names: { readonly from: string | null; readonly to: string },
    options: { readonly onProgress: (copied: number) => void },
  ): Promise<number>;
  /** What this machine offers and lacks, for `libra doctor`. */
  examine(): Promise<readonly Finding[]>;
}
