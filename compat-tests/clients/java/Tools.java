import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs command-line tools of Apache Kafka one after the other in one JVM, because its start is what takes the time. A line of the
 * standard input is one tool, its words separated by tabs: what it is to read (base64), its class, its arguments. The answer is a
 * line: exit code, a space, what it printed to both outputs (base64).
 */
public final class Tools {
    /** Takes the place of the end of the process. */
    private static final class Ended extends RuntimeException {
        private static final long serialVersionUID = 1;
        final int code;

        Ended(int code) {
            super(null, null, false, false);
            this.code = code;
        }
    }

    public static void main(String[] arguments) throws Exception {
        Exit.setExitProcedure((code, message) -> { throw new Ended(code); });
        Exit.setHaltProcedure((code, message) -> { throw new Ended(code); });
        PrintStream answers = System.out;
        var requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] words = line.split("\t", -1);
            var output = new ByteArrayOutputStream();
            var stream = new PrintStream(output, true, StandardCharsets.UTF_8);
            System.setIn(new ByteArrayInputStream(Base64.getDecoder().decode(words[0])));
            System.setOut(stream);
            System.setErr(stream);
            int code = run(words[1], Arrays.copyOfRange(words, 2, words.length), stream);
            stream.flush();
            answers.println(code + " " + Base64.getEncoder().encodeToString(output.toByteArray()));
            answers.flush();
        }
    }

    private static int run(String tool, String[] arguments, PrintStream output) throws Exception {
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return 0;
        } catch (java.lang.reflect.InvocationTargetException error) {
            Throwable cause = error.getCause();
            if (cause instanceof Ended ended) {
                return ended.code;
            }
            cause.printStackTrace(output);
            return 1;
        }
    }
}
