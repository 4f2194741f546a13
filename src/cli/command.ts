// What a command is: data about its words and options, and one function. Help, completion, the golden command tree and the parser are
// made from this; a command never reads argv, the environment or a global.

import type { Clock } from '../lib/clock.ts';
import type { ApiClient } from './api-client.ts';
import type { LocalPlatform } from './local-platform.ts';
import type { ArgumentSpec, OptionSpec } from './option-spec.ts';
import type { Output } from './output.ts';

export interface CommandInput {
  readonly arguments: Readonly<Record<string, readonly string[]>>;
  /** Switches give true, values their text. */
  readonly options: Readonly<Record<string, string | true | undefined>>;
  /** Words after `--`. */
  readonly rest: readonly string[];
}

/** What the command line itself takes from flags and variables; main.ts reads them. */
export interface CliSettings {
  readonly noColor: boolean;
  /** LIBRA_URL and LIBRA_TOKEN. */
  readonly url: string | null;
  readonly token: string | null;
}

export interface CommandContext {
  readonly settings: CliSettings;
  readonly output: Output;
  readonly cwd: string;
  readonly clock: Clock;
  /** Aborts on the first Ctrl-C. */
  readonly signal: AbortSignal;
  /** The client of the platform that variables or the local data folder name. Throws `unreachable` with the next step. */
  readonly client: () => Promise<ApiClient>;
  /** URL and credential of the same platform, for what the client does not do (sockets). */
  readonly endpoint: () => Promise<{ readonly url: string; readonly token: string }>;
  /** What needs no API: start, stop, look into the local data folder. */
  readonly local: LocalPlatform;
  /** All commands, for what tells about them. */
  readonly registry: readonly CommandGroup[];
  /** The App: `--app`, else the manifest of the current folder. Throws `invalid_input`. */
  readonly app: () => Promise<string>;
  /** All of standard input, at most so many bytes (more is cut off: the caller asks for one more than it takes). */
  readonly readInput: (maxBytes: number) => Promise<Buffer>;
  /** Standard input, output and errors as streams, for exec and questions. */
  readonly streams: { readonly input: NodeJS.ReadStream; readonly output: NodeJS.WriteStream; readonly errors: NodeJS.WriteStream };
  /** What `--app` says, for verbs that take a folder. */
  readonly appFlag: string | null;
  /** The Environment: `--environment`, else production. */
  readonly environment: string;
}

/** What a command is about, and with it whether it takes -a, and -e. */
export type CommandScope = 'platform' | 'app' | 'environment';

export interface Command {
  readonly summary: string;
  /** A complete command line that works. */
  readonly example: string;
  /** More text below the summary. */
  readonly details?: string;
  readonly arguments?: readonly ArgumentSpec[];
  /** A function where they come from the table of settings. */
  readonly options?: readonly OptionSpec[] | ((local: LocalPlatform) => readonly OptionSpec[]);
  /** Default `environment`. */
  readonly scope?: CommandScope;
  /** Takes words behind `--`: what they are. */
  readonly rest?: string;
  /** Goes on when nobody reads its output any more. */
  readonly outlivesOutput?: boolean;
  /** Resolves with the exit code; a thrown Failure is printed and gives the exit code of its table entry. */
  readonly run: (input: CommandInput, context: CommandContext) => Promise<number>;
}

export interface CommandEntry {
  /** One or two words. */
  readonly name: string;
  /** Loads the one file of the command: a command line costs no other. */
  readonly load: () => Promise<Command>;
}

export interface CommandGroup {
  readonly title: string;
  readonly commands: readonly CommandEntry[];
}
