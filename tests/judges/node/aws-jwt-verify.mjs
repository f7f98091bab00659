// An independent verifier: node aws-jwt-verify.mjs ISSUER AUDIENCE < token. Prints the claims, or says why not and fails.
import { readFileSync } from "node:fs";
import { JwtVerifier } from "aws-jwt-verify";

const [issuer, audience] = process.argv.slice(2);
const token = readFileSync(0, "utf8");
try {
  const discovery = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  const verifier = JwtVerifier.create({ issuer, audience, jwksUri: discovery.jwks_uri });
  console.log(JSON.stringify(await verifier.verify(token)));
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exit(1);
}
