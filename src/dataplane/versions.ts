// Which version of an App a request goes to: the one place where the Edge asks the split. The choice is made once per request and holds
// for all its tries; without a split nothing is read and nothing is drawn.

import type { RouteSplit, RouteTarget } from '../api/dataplane.ts';
import { createSeededRandom, systemRandom } from '../lib/id.ts';
import type { Random } from '../lib/id.ts';
import { chooseVersion, USER_COOKIE } from '../model/traffic-split.ts';
import type { SplitFacts } from '../model/traffic-split.ts';

/** Of a request: what may decide. */
export interface RequestFacts extends Pick<SplitFacts, 'header' | 'address'> {
  /** It came over TLS. */
  readonly secure: boolean;
}

/** The choice of one request. */
export interface VersionChoice {
  /** Whether it goes to the candidate. */
  isCandidate(split: RouteSplit): boolean;
  /** A Set-Cookie value that the answer shall carry; null: none. Known after the first choice. */
  setCookie(): string | null;
}

export interface Versions {
  of(request: RequestFacts): VersionChoice;
}

const COOKIE_SECONDS = 30 * 86_400;
const USER_BYTES = 12;

export function createVersions(random: Random = systemRandom): Versions {
  const [a = 0, b = 0, c = 0, d = 0] = random.bytes(4);
  // A share is no secret: a fast source does.
  const source = createSeededRandom((a << 24) | (b << 16) | (c << 8) | d);
  const newUser = (): string => Array.from(random.bytes(USER_BYTES), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return {
    of: (request) => {
      let chosenFor: string | null = null;
      let candidate = false;
      let user: string | null = null;
      return {
        isCandidate: (split) => {
          // A table with another candidate may come into force between two tries.
          if (chosenFor === split.candidateDeploymentId) return candidate;
          const facts: SplitFacts = {
            header: (name) => request.header(name),
            address: request.address,
            random: () => source.next(),
            newUser: () => user ?? newUser(),
          };
          const choice = chooseVersion(split, split.candidateDeploymentId, facts);
          chosenFor = split.candidateDeploymentId;
          candidate = choice.candidate;
          user = choice.setUser;
          return candidate;
        },
        setCookie: () => {
          if (user === null) return null;
          return `${USER_COOKIE}=${user}; Path=/; Max-Age=${COOKIE_SECONDS}; HttpOnly; SameSite=Lax${request.secure ? '; Secure' : ''}`;
        },
      };
    },
  };
}

/** The two sides of a split; active targets that are on none of them get nothing. */
export interface SplitSides<T> {
  readonly candidate: readonly T[];
  readonly main: readonly T[];
}

export function sidesOf<T>(split: RouteSplit, active: readonly RouteTarget[], make: (target: RouteTarget) => T): SplitSides<T> {
  const isMain = (target: RouteTarget): boolean =>
    split.stableDeploymentId === null
      ? target.deploymentId !== split.candidateDeploymentId
      : target.deploymentId === split.stableDeploymentId;
  return {
    candidate: active.filter((target) => target.deploymentId === split.candidateDeploymentId).map(make),
    main: active.filter(isMain).map(make),
  };
}

/**
 * Targets in the order in which they are asked: those of the version that was chosen, then those of the other one, since an answer of
 * the other version is better than none. A version without any share is never asked.
 */
export function inOrder<T>(split: RouteSplit, sides: SplitSides<T>, candidate: boolean): readonly (readonly T[])[] {
  if (candidate) return [sides.candidate, sides.main];
  return split.percent > 0 ? [sides.main, sides.candidate] : [sides.main];
}
