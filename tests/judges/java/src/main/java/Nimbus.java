import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.oauth2.sdk.id.ClientID;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import com.nimbusds.openid.connect.sdk.validators.IDTokenValidator;
import java.nio.charset.StandardCharsets;

/** An independent verifier: Nimbus ISSUER AUDIENCE &lt; token. Prints the claims, or says why not and fails. */
public final class Nimbus {
  public static void main(String[] arguments) throws Exception {
    String token = new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
    try {
      OIDCProviderMetadata metadata = OIDCProviderMetadata.resolve(new Issuer(arguments[0]));
      IDTokenValidator validator = new IDTokenValidator(
          metadata.getIssuer(), new ClientID(arguments[1]), JWSAlgorithm.RS256, metadata.getJWKSetURI().toURL());
      System.out.println(validator.validate(SignedJWT.parse(token), null).toJSONString());
    } catch (Exception error) {
      System.err.println(error);
      System.exit(1);
    }
  }
}
