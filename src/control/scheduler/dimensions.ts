// What a Node has to give, each kind behind the same small contract: how many more fit, how much is given away, what is missing. A further
// kind is one more of these and its place in the list.

import type { CoreShare } from '../../model/documents.ts';
import { PIECES, bindCapacity, bindCores, piecesOf, withoutCores } from './cores.ts';
import type { Ask, NodeRoom } from './snapshot.ts';

interface Dimension {
  /** How many more fit; Infinity where nothing of it is asked. */
  fits(node: NodeRoom, ask: Ask): number;
  /** Why not even one fits, in words. */
  lacks(node: NodeRoom, ask: Ask): string;
  /** What changes about the Node when one more is there. */
  take(node: NodeRoom, ask: Ask): Partial<NodeRoom>;
}

/** By which Nodes are weighed against each other. */
interface Weighed extends Dimension {
  /** Share of what the Node has that is given away; above 1 where it is over-committed. */
  usage(node: NodeRoom): number;
  /** What one more would add to it. */
  rate(node: NodeRoom, ask: Ask): number;
}

/** Sums of fractions of cores are not exact. */
const EPSILON = 1e-9;

const share = (part: number, whole: number): number => (whole <= 0 ? 1 : part / whole);
const times = (room: number, each: number): number => (each <= 0 ? Infinity : Math.max(0, Math.floor(room / each + EPSILON)));

/** Cores of which some Instance has a part to itself. */
function takenCores(node: NodeRoom): number {
  let taken = 0;
  for (const pieces of node.freePieces) if (pieces < PIECES) taken += 1;
  return taken;
}

/** For those that share: what nobody has to himself. */
function sharedCpu(node: NodeRoom): number {
  return Math.max(0, node.capacity.cpu - takenCores(node)) * node.overcommit.cpu;
}

/** Whole cores that have to stay for those that share. */
function reserved(node: NodeRoom): number {
  const broken = node.capacity.cpu - Math.floor(node.capacity.cpu);
  return Math.max(0, Math.ceil(node.used.cpu / node.overcommit.cpu - broken - EPSILON));
}

/** The cores that one more would get; null: it does not fit. */
export function coresFor(node: NodeRoom, ask: Ask): readonly CoreShare[] | null {
  return bindCores(node.freePieces, piecesOf(ask.cpu), reserved(node));
}

const cpu: Weighed = {
  fits: (node, ask) =>
    ask.bind ? bindCapacity(node.freePieces, piecesOf(ask.cpu), reserved(node)) : times(sharedCpu(node) - node.used.cpu, ask.cpu),
  usage: (node) => {
    let pieces = 0;
    for (const free of node.freePieces) if (free < PIECES) pieces += PIECES - free;
    return share(pieces / PIECES + node.used.cpu, node.capacity.cpu);
  },
  rate: (node, ask) => share(ask.cpu, node.capacity.cpu),
  lacks: (node, ask) => {
    const all = round(node.capacity.cpu * (ask.bind ? 1 : node.overcommit.cpu));
    if (!ask.bind) return `cpu: ${round(sharedCpu(node) - node.used.cpu)} free of ${all}, ${round(ask.cpu)} asked`;
    const whole = Math.max(0, node.freePieces.filter((pieces) => pieces >= PIECES).length - reserved(node));
    const begun = node.freePieces.filter((pieces) => pieces > 0 && pieces < PIECES).map((pieces) => pieces / PIECES);
    const parts = begun.length === 0 ? '' : ` and ${begun.join(' + ')} of others`;
    return `cores: ${whole} free${parts} of ${all}, ${round(ask.cpu)} of its own asked`;
  },
  take: (node, ask) => {
    if (!ask.bind) return { used: { ...node.used, cpu: node.used.cpu + ask.cpu } };
    return { freePieces: withoutCores(node.freePieces, coresFor(node, ask) ?? []) };
  },
};

const memory: Weighed = {
  fits: (node, ask) => times(node.capacity.memoryBytes * node.overcommit.memory - node.used.memoryBytes, ask.memoryBytes),
  usage: (node) => share(node.used.memoryBytes, node.capacity.memoryBytes),
  rate: (node, ask) => share(ask.memoryBytes, node.capacity.memoryBytes),
  lacks: (node, ask) => {
    const all = node.capacity.memoryBytes * node.overcommit.memory;
    return `memory: ${mebibytes(all - node.used.memoryBytes)} free of ${mebibytes(all)}, ${mebibytes(ask.memoryBytes)} asked`;
  },
  take: (node, ask) => ({ used: { ...node.used, memoryBytes: node.used.memoryBytes + ask.memoryBytes } }),
};

const volumes: Dimension = {
  fits: ({ capacity, used }, ask) => times((capacity.volumeBytes ?? Infinity) - (used.volumeBytes ?? 0), ask.volumeBytes ?? 0),
  lacks: ({ capacity, used }, ask) => {
    const all = capacity.volumeBytes ?? 0;
    return `volumes: ${mebibytes(all - (used.volumeBytes ?? 0))} free of ${mebibytes(all)}, ${mebibytes(ask.volumeBytes ?? 0)} asked`;
  },
  take: ({ used }, ask) => ({ used: { ...used, volumeBytes: (used.volumeBytes ?? 0) + (ask.volumeBytes ?? 0) } }),
};

const freeDevices = ({ capacity, used }: NodeRoom, name: string): number => (capacity.devices?.[name] ?? 0) - (used.devices?.[name] ?? 0);
const devicesOf = (ask: Ask): [string, number][] => Object.entries(ask.devices ?? {});

const devices: Dimension = {
  fits: (node, ask) => Math.min(...devicesOf(ask).map(([name, count]) => times(freeDevices(node, name), count)), Infinity),
  lacks: (node, ask) =>
    devicesOf(ask)
      .filter(([name, count]) => freeDevices(node, name) < count)
      .map(([name, count]) => `${name}: ${freeDevices(node, name)} free of ${node.capacity.devices?.[name] ?? 0}, ${count} asked`)
      .join(', '),
  take: ({ used }, ask) => {
    const after: Record<string, number> = { ...used.devices };
    for (const [name, count] of devicesOf(ask)) after[name] = (after[name] ?? 0) + count;
    return { used: { ...used, devices: after } };
  },
};

const WEIGHED: readonly Weighed[] = [cpu, memory];
const DIMENSIONS: readonly Dimension[] = [...WEIGHED, volumes, devices];

/** How many more fit of everything. */
export function fits(node: NodeRoom, ask: Ask): number {
  let least = Infinity;
  for (const dimension of DIMENSIONS) least = Math.min(least, dimension.fits(node, ask));
  return least;
}

/** What of it is the reason that none fits; null: one does. */
export function lacks(node: NodeRoom, ask: Ask): string | null {
  if (fits(node, ask) >= 1) return null;
  const scarce = DIMENSIONS.filter((dimension) => dimension.fits(node, ask) < 1);
  return scarce.map((dimension) => dimension.lacks(node, ask)).join(', ');
}

const mean = (of: (dimension: Weighed) => number): number => WEIGHED.reduce((all, dimension) => all + of(dimension), 0) / WEIGHED.length;

export const usage = (node: NodeRoom): number => mean((dimension) => dimension.usage(node));
export const rate = (node: NodeRoom, ask: Ask): number => mean((dimension) => dimension.rate(node, ask));

/** The Node with one more. */
export function take(node: NodeRoom, ask: Ask): NodeRoom {
  return DIMENSIONS.reduce((room, dimension) => ({ ...room, ...dimension.take(room, ask) }), node);
}

function round(value: number): number {
  return Math.max(0, Math.round(value * 100) / 100);
}

function mebibytes(bytes: number): string {
  return `${Math.max(0, Math.round(bytes / 1024 / 1024))}Mi`;
}
