// From what was seen of a failing program to the probable cause and the next step, in words. Pure, so that every driver and the agent give
// the same answer; it only ever reads what it is handed, and a guess from output is always told as one.

import type { Reason, ReasonCode } from './documents.ts';
import { readClue } from './diagnosis-clues.ts';
import { formatBytes } from './quantity.ts';

interface ListeningSocket {
  /** Address it is bound to, such as `127.0.0.1`, `0.0.0.0`, `::`. */
  readonly host: string;
  readonly port: number;
}

/** The last failed health check. */
export type ProbeFailure =
  | {
      readonly kind: 'http';
      readonly path: string;
      readonly status: number | null;
      readonly problem: 'status' | 'refused' | 'timeout' | 'broken';
    }
  | { readonly kind: 'tcp'; readonly problem: 'refused' | 'timeout' | 'broken' }
  | { readonly kind: 'command'; readonly exitCode: number | null; readonly output: string };

export interface Observation {
  readonly instanceId: string | null;
  readonly entrypoint: string;
  /** Words as started; empty where the image's own command runs. */
  readonly command: readonly string[];
  /** True where the program is meant to run on; false for one-offs and builds. */
  readonly service: boolean;
  /** How it ended; null while it runs. */
  readonly exit: { readonly code: number | null; readonly signal: string | null; readonly outOfMemory: boolean } | null;
  readonly probe: ProbeFailure | null;
  /** The last output, oldest first. */
  readonly lastLines: readonly string[];
  /** The port it should listen on; null where it listens on none. */
  readonly expectedPort: number | null;
  /** What its processes listen on; null where nobody could look. */
  readonly sockets: readonly ListeningSocket[] | null;
  /** True where 127.0.0.1 inside is not 127.0.0.1 outside. */
  readonly inContainer: boolean;
  readonly memoryLimitBytes: number | null;
}

const MAX_LINES = 20;
const MAX_LINE_LENGTH = 500;

/** The probable cause. Never throws; the output lines are cut to 20 of 500 characters. */
export function diagnose(observation: Observation): Reason {
  const finding = observation.exit === null ? whyUnhealthy(observation) : whyEnded(observation, observation.exit);
  return { ...finding, lastLines: boundedLines(observation.lastLines), instanceId: observation.instanceId };
}

/** The last 20 lines, each at most 500 characters. */
function boundedLines(lines: readonly string[]): readonly string[] {
  return lines.slice(-MAX_LINES).map((line) => (line.length > MAX_LINE_LENGTH ? `${line.slice(0, MAX_LINE_LENGTH - 1)}…` : line));
}

interface Finding {
  readonly code: ReasonCode;
  readonly message: string;
  readonly hint: string | null;
}

function finding(code: ReasonCode, message: string, hint: string | null): Finding {
  return { code, message, hint };
}

function whyEnded(seen: Observation, exit: NonNullable<Observation['exit']>): Finding {
  const how = exit.signal === null ? `ended with exit code ${exit.code ?? 'unknown'}` : `was ended by signal ${exit.signal}`;
  const program = seen.command[0] ?? 'The program';
  if (exit.outOfMemory) return outOfMemory(seen, 'It needed more memory than its limit');
  const clue = readClue(seen.lastLines);
  switch (clue?.kind) {
    case 'heap':
      return outOfMemory(seen, 'Its output says that its heap is full');
    case 'variable':
      return finding(
        'missing_variable',
        `${seen.entrypoint} ${how}; its output says that the variable ${clue.name} is missing.`,
        `Set it: libra env set ${clue.name}=…  (or libra secrets set, and { secret: … } in the manifest).`,
      );
    case 'port-taken':
      return finding(
        'port_taken',
        `${seen.entrypoint} ${how}; its output says that ${clue.port === null ? 'its port' : `port ${clue.port}`} is in use.`,
        `Listen on the port of the variable PORT${seen.expectedPort === null ? '' : ` (${seen.expectedPort})`} instead of a fixed one.`,
      );
    case 'module':
      return finding(
        'exited',
        `${seen.entrypoint} ${how}; its output says that ${clue.name} cannot be found.`,
        /^\.{0,2}\//u.test(clue.name) && !clue.name.includes('/node_modules/')
          ? 'Check the command and the folder: that file was not uploaded. What .gitignore and .libraignore name stays out.'
          : 'Install what it needs in the build, such as `build: { commands: [[npm, ci]] }`; node_modules and the like are never uploaded.',
      );
    case 'disk-full':
      return finding(
        'disk_quota',
        `${seen.entrypoint} ${how}; its output says that no space is left to write.`,
        'Write less, or raise `resources: { disk: … }`, or use a Volume with a size.',
      );
    case 'permission':
      return finding(
        'exited',
        `${seen.entrypoint} ${how}; its output says that it may not use ${clue.name}.`,
        'An Instance may write to its own work folder and its Volumes, and listen on ports from 1024.',
      );
    case 'listening':
    case undefined:
      break;
  }
  if (exit.code === 127) {
    return finding(
      'command_not_found',
      `The command ${program} was not found.`,
      'Check its spelling, and that the build puts it into the folder.',
    );
  }
  if (exit.code === 126) {
    return finding(
      'command_not_found',
      `The command ${program} is not executable.`,
      `Make it executable (chmod +x) or start it through its interpreter.`,
    );
  }
  if (exit.signal === 'SIGKILL' || exit.code === 137) {
    return finding(
      'killed',
      `${seen.entrypoint} was killed from outside (SIGKILL).`,
      'Most often the machine ran out of memory: look at its kernel log, and give the Entrypoint a memory limit that fits.',
    );
  }
  if (exit.signal !== null) {
    return finding(
      'killed',
      `${seen.entrypoint} ${how}.`,
      'SIGSEGV, SIGABRT and SIGILL are defects of the program or of a native module in it.',
    );
  }
  if (exit.code === 0 && seen.service) {
    return finding(
      'exited',
      `${seen.entrypoint} ended by itself with exit code 0, but a service shall keep running.`,
      'Keep the program in the foreground; work that ends belongs to an Entrypoint with `schedule`, `run: before-deploy` or `run: manual`.',
    );
  }
  return finding(
    'exited',
    `${seen.entrypoint} ${how}.`,
    seen.lastLines.length === 0 ? 'It printed nothing; run its command by hand to see more.' : 'Its last lines tell more.',
  );
}

function outOfMemory(seen: Observation, what: string): Finding {
  const limit = seen.memoryLimitBytes === null ? '' : ` of ${formatBytes(seen.memoryLimitBytes)}`;
  return finding(
    'out_of_memory',
    `${seen.entrypoint} ran out of memory. ${what}${limit}.`,
    'Raise `resources: { memory: … }`, or make it need less.',
  );
}

function isLoopback(host: string): boolean {
  return host === '::1' || host === 'localhost' || host.startsWith('127.') || host.startsWith('::ffff:127.');
}

function whyUnhealthy(seen: Observation): Finding {
  const { probe, expectedPort: port } = seen;
  if (probe?.kind === 'http' && probe.problem === 'status') return whyStatus(seen, probe.path, probe.status);
  if (probe?.kind === 'command') {
    return finding(
      'health_command',
      `The health command of ${seen.entrypoint} ${probe.exitCode === null ? 'did not end in time' : `ended with exit code ${probe.exitCode}`}.`,
      probe.output === '' ? null : `It printed: ${probe.output.slice(0, 200)}`,
    );
  }
  const elsewhere = whyElsewhere(seen);
  if (elsewhere !== null) return elsewhere;
  if (probe?.problem === 'timeout') {
    return finding(
      'health_timeout',
      `${seen.entrypoint} does not answer its health check in time${probe.kind === 'http' ? ` (GET ${probe.path})` : ''}.`,
      'Raise `health: { timeout: … }` or `grace`, or find out what keeps it busy.',
    );
  }
  if (probe?.problem === 'broken') {
    return finding(
      'health_status',
      `${seen.entrypoint} accepts connections${port === null ? '' : ` on port ${port}`} but does not answer in HTTP.`,
      'Does it speak TLS on this port? Libra speaks plain HTTP to Instances. Otherwise use `health: { tcp: true }`.',
    );
  }
  const clue = readClue(seen.lastLines);
  if (clue?.kind === 'variable') {
    return finding(
      'missing_variable',
      `${seen.entrypoint} is not healthy; its output says that the variable ${clue.name} is missing.`,
      `Set it: libra env set ${clue.name}=…`,
    );
  }
  return finding(
    'never_listened',
    `${seen.entrypoint} runs but does not listen${port === null ? '' : ` on port ${port}`}.`,
    'Listen on the port of the variable PORT and the address of HOST, or name the fixed one: `port: …`. Is it slow to start? Raise `health: { grace: … }`.',
  );
}

/** It listens, but not where it should. Observed sockets are sure; without them the output may give it away. */
function whyElsewhere(seen: Observation): Finding | null {
  const port = seen.expectedPort;
  if (port === null) return null;
  if (seen.sockets === null) {
    const clue = readClue(seen.lastLines, 'listening');
    if (clue?.kind !== 'listening' || clue.port === port) return null;
    return finding(
      'wrong_port',
      `${seen.entrypoint} does not answer on port ${port}; its output speaks of port ${clue.port}.`,
      `Listen on the port of the variable PORT, or say \`port: ${clue.port}\` in the manifest.`,
    );
  }
  const here = seen.sockets.filter((socket) => socket.port === port);
  if (here.length > 0) {
    if (!seen.inContainer || !here.every((socket) => isLoopback(socket.host))) return null;
    return finding(
      'wrong_address',
      `${seen.entrypoint} listens on port ${port}, but only on ${here[0]?.host ?? '127.0.0.1'} inside its container.`,
      'Listen on the address of the variable HOST (0.0.0.0), so that it can be reached from outside the container.',
    );
  }
  const [other] = seen.sockets;
  if (other === undefined) return null;
  const ports = [...new Set(seen.sockets.map((socket) => socket.port))].sort((a, b) => a - b).slice(0, 5);
  return finding(
    'wrong_port',
    `${seen.entrypoint} should listen on port ${port}, but listens on ${ports.join(', ')}.`,
    `Listen on the port of the variable PORT, or say \`port: ${other.port}\` in the manifest.`,
  );
}

function whyStatus(seen: Observation, path: string, status: number | null): Finding {
  const answered = `The health check GET ${path} of ${seen.entrypoint} was answered with ${status ?? 'an invalid status'}.`;
  if (status === 404)
    return finding(
      'health_status',
      answered,
      `Is ${path} the right path? Change \`health: { http: … }\`, or use \`health: { tcp: true }\`.`,
    );
  if (status === 401 || status === 403)
    return finding('health_status', answered, 'Give the health check a path that needs no credentials.');
  if (status !== null && status >= 300 && status < 400) {
    return finding('health_status', answered, 'Redirects are not followed; give the health check the path that answers with 2xx.');
  }
  if (status !== null && status >= 500) return finding('health_status', answered, 'It fails inside: its last lines tell more.');
  return finding('health_status', answered, 'Healthy is a status from 200 to 299.');
}
