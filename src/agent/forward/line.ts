// A line of an Instance as it leaves the platform: one JSON object, or a message of syslog.

import type { LogLine } from '../../driver/contract.ts';

/** Who wrote the lines. */
export interface LineOwner {
  readonly instance: string;
  readonly app: string;
  readonly environment: string | null;
  readonly entrypoint: string;
  readonly slot: number;
  readonly role: string;
  readonly node: string;
}

export interface ForwardedLine {
  readonly owner: LineOwner;
  readonly line: LogLine;
}

/**
 * `time` is RFC 3339 in UTC. (`instance`, `sequence`) names the line: a receiver that has it got it twice. Within one Instance sequences
 * grow as texts.
 */
export function jsonOf({ owner, line }: ForwardedLine): string {
  const { atMs, stream, text, cursor } = line;
  return JSON.stringify({ time: new Date(atMs).toISOString(), ...owner, stream, sequence: cursor, text });
}

/** Facility `user` (RFC 5424, 6.2.1). */
const FACILITY = 1;
const SEVERITY = { stdout: 6, stderr: 3 } as const;
/** The private enterprise number that is set aside for examples (RFC 5612): Libra has none of its own. */
const ELEMENT = 'libra@32473';

const header = (value: string, length: number): string => value.replaceAll(/[^!-~]/gu, '_').slice(0, length) || '-';
const parameter = (name: string, value: string): string => ` ${name}="${value.replaceAll(/["\\\]]/gu, String.raw`\$&`)}"`;

/** RFC 5424; the text follows as it is, so a line with control characters stays one message only by the framing around it. */
export function syslogOf({ owner, line }: ForwardedLine): string {
  const priority = FACILITY * 8 + SEVERITY[line.stream];
  const process = header(`${owner.entrypoint}.${owner.slot}`, 128);
  const data = [
    parameter('environment', owner.environment ?? ''),
    parameter('role', owner.role),
    parameter('instance', owner.instance),
    parameter('sequence', line.cursor),
  ].join('');
  return `<${priority}>1 ${new Date(line.atMs).toISOString()} ${header(owner.node, 255)} ${header(owner.app, 48)} ${process} ${line.stream} [${ELEMENT}${data}] ${line.text}`;
}
