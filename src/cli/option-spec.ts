// Words and options of a command as data: parser, help, completion, reference and the golden command tree are made from this.

export interface ArgumentSpec {
  readonly name: string;
  readonly help: string;
  readonly required: boolean;
  /** Takes all remaining words. */
  readonly variadic?: boolean;
}

export interface OptionSpec {
  /** Long name without dashes. */
  readonly name: string;
  readonly short?: string;
  /** Placeholder of the value; absent for a switch. */
  readonly value?: string;
  readonly help: string;
}
