// Contestants in turn, round after round, so that what disturbs the machine disturbs them alike; what counts are medians. A round in
// which others used the proxy's core is repeated, for a while.

import { systemClock } from '../../src/lib/clock.ts';
import { median } from '../report.ts';
import type { Round } from './load.ts';
import { PROXY_CORE, coreBusyMs } from './program.ts';
import type { Program } from './program.ts';

/** Above this share of the proxy's core a round counts as disturbed. */
const DISTURBED_SHARE = 0.08;

export interface Contestant {
  readonly name: string;
  readonly program: Program;
  readonly load: (seconds: number) => Promise<Round>;
}

export interface Effort {
  readonly rounds: number;
  /** How many rounds more where others disturb. */
  readonly repeats: number;
  readonly seconds: number;
  /** Before what counts, each. */
  readonly warmSeconds: number;
}

export interface Measured {
  readonly name: string;
  readonly perCpuSecond: number;
  readonly perSecond: number;
  readonly p99Ms: number;
  readonly pssBytes: number;
  readonly rounds: number;
  /** Share of the proxy's core that was used by others, in the rounds that count. */
  readonly othersShare: number;
}

interface Figures {
  readonly perCpuSecond: number;
  readonly perSecond: number;
  readonly p99Ms: number;
  readonly othersShare: number;
}

async function measureRound({ name, program, load }: Contestant, seconds: number): Promise<Figures> {
  const cpuBefore = program.cpuMs();
  const busyBefore = coreBusyMs(PROXY_CORE);
  const beganMs = systemClock.monotonic();
  const round = await load(seconds);
  const cpuMs = program.cpuMs() - cpuBefore;
  const busyMs = coreBusyMs(PROXY_CORE) - busyBefore;
  const tookMs = systemClock.monotonic() - beganMs;
  if (cpuMs <= 0 || round.requests === 0) throw new Error(`${name} was not measured: ${round.requests} requests in ${cpuMs} ms of CPU`);
  return {
    perCpuSecond: (round.requests * 1000) / cpuMs,
    perSecond: round.requests / round.seconds,
    p99Ms: round.p99Ms,
    othersShare: Math.max(0, (busyMs - cpuMs) / tookMs),
  };
}

export async function measureInTurn(
  contestants: readonly Contestant[],
  { rounds, repeats, seconds, warmSeconds }: Effort,
): Promise<readonly Measured[]> {
  const figures = contestants.map((): Figures[] => []);
  const undisturbed = (): number =>
    Math.min(...figures.map((list) => list.filter(({ othersShare }) => othersShare <= DISTURBED_SHARE).length));
  // Caches and compilers, of the proxies and of the machine.
  for (const contestant of contestants) await contestant.load(warmSeconds);
  for (let round = 0; round < rounds + repeats && undisturbed() < rounds; round += 1)
    for (const [index, contestant] of contestants.entries()) figures[index]?.push(await measureRound(contestant, seconds));
  return contestants.map(({ name, program }, index) => {
    const all = figures[index] ?? [];
    const quiet = all.filter(({ othersShare }) => othersShare <= DISTURBED_SHARE);
    const counted = quiet.length >= Math.min(rounds, 2) ? quiet : all;
    const of = (pick: (figure: Figures) => number): number => median(counted.map(pick));
    return {
      name,
      perCpuSecond: of((figure) => figure.perCpuSecond),
      perSecond: of((figure) => figure.perSecond),
      p99Ms: of((figure) => figure.p99Ms),
      pssBytes: program.pssBytes(),
      rounds: counted.length,
      othersShare: of((figure) => figure.othersShare),
    };
  });
}
