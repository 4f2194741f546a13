// A command beside a process Instance, in a terminal of its own. Node.js cannot make one, but runuser can, without a shell: as root it opens
// the terminal and starts what follows in it. It knows no variable of the App, which could steer it; those come by a pipe to a few lines
// of Node that run as the App's user already, give the terminal its size and then become the command.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { Failure } from '../../lib/failure.ts';
import { startWithin } from '../../sys/cgroup-join.ts';
import { listPids, readProcessStat } from '../../sys/process-identity.ts';
import { runProgram } from '../../sys/run-program.ts';
import type { ExecSession, Terminal } from '../contract.ts';
import type { ExecRequest } from './exec.ts';
import { mergeOutput } from './merge-output.ts';
import type { AppUser } from './users.ts';

const STTY_MS = 5000;
/** Of what we run as root. */
const CLEAN = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

const find = (name: string): string | null =>
  ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].map((folder) => `${folder}/${name}`).find((path) => existsSync(path)) ?? null;

/** Node ignores some signals, which what it becomes would inherit; a listener that goes leaves the default behind. */
const INSIDE = `
  const { closeSync, readFileSync } = require('node:fs');
  const [stty, columns, rows, file, ...words] = process.argv.slice(1);
  const env = JSON.parse(readFileSync(3, 'utf8'));
  closeSync(3);
  for (const signal of ['SIGPIPE', 'SIGXFSZ']) process.on(signal, () => {}).removeAllListeners(signal);
  require('node:child_process').spawnSync(stty, ['echo', 'cols', columns, 'rows', rows], { stdio: 'inherit' });
  process.execve(file, [file, ...words], env);
`;

export interface TerminalRequest extends ExecRequest {
  readonly user: AppUser;
  readonly cgroups: readonly string[];
  /** That the App's user may run. */
  readonly node: string;
  readonly terminal: Terminal;
}

/** Resolves when it has been started. Throws `unsupported` where the machine lacks what it takes. */
export async function startInTerminal(request: TerminalRequest): Promise<ExecSession> {
  const { user, terminal } = request;
  const [runuser, setpriv, stty] = ['runuser', 'setpriv', 'stty'].map(find);
  if (typeof runuser !== 'string' || typeof setpriv !== 'string' || typeof stty !== 'string') {
    throw new Failure('unsupported', {
      message: 'This Node has no terminal for a command beside a process: that takes runuser, setpriv and stty.',
      hint: 'Install util-linux and coreutils on the Node, or leave out --tty.',
    });
  }
  const drop = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all'];
  const size = [String(terminal.columns), String(terminal.rows)];
  const begin = [request.node, '--disable-warning=ExperimentalWarning', '-e', INSIDE, '--', stty, ...size, request.file, ...request.words];
  const child = startWithin(request.cgroups, () =>
    spawn(runuser, ['-m', '--pty', '-u', 'root', '--', setpriv, ...drop, '--', ...begin], {
      cwd: request.cwd,
      env: CLEAN,
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    }),
  );
  const [stdin, stdout, stderr, variables] = child.stdio;
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) =>
      reject(new Failure('start_failed', { message: `${runuser} could not be started: ${cause.message}`, cause })),
    );
  });
  child.on('error', () => undefined);
  for (const stream of [stdin, variables]) stream?.on('error', () => undefined); // it has ended; write() reports it
  if (variables !== null && variables !== undefined && 'end' in variables)
    variables.end(JSON.stringify({ TERM: 'xterm-256color', ...request.env }));
  return {
    write: (chunk) =>
      new Promise((resolve, reject) => {
        stdin.write(chunk, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(new Failure('conflict', { message: 'The command does not take input any more.', cause: error }));
        });
      }),
    endInput: () => {
      stdin.end();
    },
    output: mergeOutput(stdout, stderr),
    exited,
    resize: async ({ columns, rows }) => {
      const index = terminalOf(child);
      if (index === null) return;
      await runProgram([stty, '-F', `/dev/pts/${index}`, 'cols', String(columns), 'rows', String(rows)], {
        env: CLEAN,
        timeoutMs: STTY_MS,
      });
    },
    kill: () => {
      const { pid } = child;
      if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      // What is in the terminal has a session of its own.
      for (const group of [...listPids().filter((each) => readProcessStat(each)?.parentPid === pid), pid]) {
        try {
          process.kill(-group, 'SIGKILL');
        } catch {
          // It ended before.
        }
      }
    },
  };
}

/** The number of the terminal that it holds; null: it has none yet, or none any more. */
function terminalOf({ pid }: ChildProcess): string | null {
  try {
    for (const descriptor of readdirSync(`/proc/${pid}/fdinfo`)) {
      const index = /^tty-index:\s+(\d+)$/mu.exec(readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8'))?.[1];
      if (index !== undefined) return index;
    }
  } catch {
    // It has ended.
  }
  return null;
}
