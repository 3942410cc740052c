package bench;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Sums bytes in native code, which is unpacked from the archive into the temporary directory before it is loaded. */
public final class Checksum {
    static {
        try (InputStream library = Checksum.class.getResourceAsStream("/libchecksum.so")) {
            Path unpacked = Files.createTempFile("libchecksum-", ".so");
            unpacked.toFile().deleteOnExit();
            Files.copy(library, unpacked, StandardCopyOption.REPLACE_EXISTING);
            System.load(unpacked.toString());
        } catch (IOException error) {
            throw new ExceptionInInitializerError(error);
        }
    }

    private Checksum() {
    }

    /** Returns the sum of the bytes, each taken as 0 to 255. */
    public static native long sum(byte[] bytes);
}
