// What `libra dev` asks of the machine that it runs on. main.ts has it from roles/: the CLI never imports the folder that does it.

export interface LaptopConnection {
  /** URL to ask for the session at, and its credential. */
  readonly gateway: string;
  readonly credential: string;
  /** Of the program, on loopback. */
  readonly port: number;
  readonly forwarder: LocalForwarder;
  readonly signal: AbortSignal;
  readonly onConnected: (again: boolean) => void;
  readonly onLost: (why: string) => void;
}

/** What the program calls goes to the platform by its port. */
export interface LocalForwarder {
  readonly port: number;
  /** A file that stands for the token of an Instance: the connection says who calls. */
  readonly identityFile: string;
  stop(): Promise<void>;
}

export interface LocalProgram {
  /** Its exit code; as a shell tells of one that a signal has ended. Rejects with `start_failed` where it cannot be started. */
  readonly ended: Promise<number>;
  /** Asks it to end, and makes it after a while. */
  stop(): Promise<void>;
}

export interface Laptop {
  /** Whoever is at it, `ana`, and the machine with it: `ana@laptop`. */
  readonly user: string;
  readonly from: string;
  freePort(): Promise<number>;
  forward(): Promise<LocalForwarder>;
  /** Resolves when the signal ends it, rejects with `unauthenticated` when the session has ended. */
  connect(connection: LaptopConnection): Promise<void>;
  /** With what is around this process, but for what is Libra's, and these variables over it. */
  start(program: {
    readonly argv: readonly string[];
    readonly folder: string;
    readonly variables: Readonly<Record<string, string>>;
    /** Stands in front of what it writes; null: it has the terminal to itself. */
    readonly label: string | null;
  }): LocalProgram;
  /** argv of Libra's own server of static files. */
  readonly staticServer: readonly string[];
}
