<?php
// Counts visits in a session, takes uploads, and says what the environment set.
session_start();

switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/count':
        $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
        echo $_SESSION['count'], "\n";
        break;
    case '/upload':
        $file = $_FILES['file'] ?? null;
        if (!$file || $file['error'] !== UPLOAD_ERR_OK) {
            http_response_code(500);
            echo 'upload failed: ', $file['error'] ?? 'no file', "\n";
        } elseif (!move_uploaded_file($file['tmp_name'], 'uploads/' . basename($file['name']))) {
            http_response_code(500);
            echo "upload could not be kept\n";
        } else {
            echo "kept\n";
        }
        break;
    case '/limit':
        echo ini_get('memory_limit'), "\n";
        break;
    default:
        echo "It works, and it is ours.\n";
}
