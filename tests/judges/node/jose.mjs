// An independent verifier: node jose.mjs ISSUER AUDIENCE < token. Prints the claims, or says why not and fails.
import { readFileSync } from "node:fs";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [issuer, audience] = process.argv.slice(2);
const token = readFileSync(0, "utf8");
try {
  const discovery = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  if (discovery.issuer !== issuer) throw new Error(`the discovery document names issuer ${discovery.issuer}`);
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(discovery.jwks_uri)), {
    issuer,
    audience,
    algorithms: discovery.id_token_signing_alg_values_supported,
    requiredClaims: ["sub", "exp", "iat", "jti"],
  });
  console.log(JSON.stringify(payload));
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exit(1);
}
